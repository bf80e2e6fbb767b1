// Plug-ins from elsewhere, loaded into a real kernel: by URL, and by name through several repositories, which
// the command line made and a plain web server serves.
#include <sys/utsname.h>

#include <future>
#include <set>

#include "componentvm/kernel/node.h"

namespace mvm::kernel {
namespace {

using testing::HasSubstr;
using testing::Not;

namespace fs = std::filesystem;

/// What `python3 -m http.server` does, over TLS: the folder, and the PEM file of certificate and key.
constexpr const char* kTlsServer = R"(
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"Serving on port {server.server_port} (", flush=True)
server.serve_forever()
)";

/// Any web server, for a folder; with the PEM file of certificate and key over TLS.
class PlainWebServer {
 public:
  explicit PlainWebServer(const fs::path& folder, const std::string& certificate = "")
      : scheme_(certificate.empty() ? "http" : "https"),
        out_(folder.parent_path() / (folder.filename().string() + "." + scheme_ + ".log")) {
    const UniqueFd out(::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    std::vector<std::string> argv{"python3", "-u",        "-m", "http.server", "0",
                                  "--bind",  "127.0.0.1", "-d", folder};
    if (!certificate.empty()) argv = {"python3", "-u", "-c", kTlsServer, folder, certificate};
    auto child = Subprocess::spawn(
        {.argv = std::move(argv), .standard_output = out.get(), .standard_error = out.get()});
    EXPECT_TRUE(child) << child.error().describe();
    child_.emplace(std::move(*child));
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (port_ == 0 && std::chrono::steady_clock::now() < end) {
      const std::string text = *read_file(out_, 1 << 20);
      if (const auto at = text.find(" port ");
          at != std::string::npos && text.find('(', at) != std::string::npos)
        port_ = std::stoi(text.substr(at + 6));
    }
    EXPECT_NE(port_, 0);
  }
  [[nodiscard]] std::string url() const { return scheme_ + "://127.0.0.1:" + std::to_string(port_); }

 private:
  std::string scheme_;
  fs::path out_;
  std::optional<Subprocess> child_;
  int port_ = 0;
};

class LocatorsTest : public testing::Test {
 protected:
  LocatorsTest() : folder(*make_temporary_folder("/tmp", "mvm-locators-")) {
    EXPECT_EQ(::chmod(folder.c_str(), 0711), 0);
    key = mvm({"plugin", "keygen", folder / "key"});
    key.pop_back();
  }
  ~LocatorsTest() override {
    node.reset();
    EXPECT_TRUE(remove_tree(folder));
  }

  /// The command line.
  std::string mvm(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), MVM_BINARY_DIR "/bin/mvm");
    auto done = run_captured({.argv = arguments}, 30s);
    EXPECT_TRUE(done && done->status.success()) << (done ? done->errors : done.error().describe());
    return done ? done->output : "";
  }
  void publish(const std::string& repository, const std::string& actor) const {
    mvm({"plugin", "publish", folder / repository, MVM_BINARY_DIR "/tests/actors/" + actor, "--key",
         folder / "key"});
  }
  void boot(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--trust", key});
    node.emplace(NodeOptions{.arguments = std::move(arguments)});
  }
  void openssl(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "openssl");
    auto done = run_captured({.argv = arguments}, 30s);
    ASSERT_TRUE(done && done->status.success()) << (done ? done->errors : done.error().describe());
  }
  /// An authority in NAME.pem, and in NAME-server.pem certificate and key that it signed for `host`.
  void make_authority(const std::string& name, const std::string& host) const {
    const std::string base = folder / name, server = base + "-server";
    openssl({"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-days", "2", "-keyout",
             base + ".key", "-out", base + ".pem"});
    openssl({"req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-keyout", server + ".key",
             "-out", server + ".csr"});
    ASSERT_TRUE(write_file_durably(base + ".ext", "subjectAltName=" + host));
    openssl({"x509", "-req", "-in", server + ".csr", "-CA", base + ".pem", "-CAkey", base + ".key",
             "-CAcreateserial", "-days", "2", "-extfile", base + ".ext", "-out", server + ".crt"});
    ASSERT_TRUE(write_file_durably(
        server + ".pem", *read_file(server + ".crt", 1 << 20) + *read_file(server + ".key", 1 << 20), 0600));
  }
  void load(const std::string& locator) { node->must("kernel.load", {{"plugins", {locator}}}); }
  Error failure(const std::string& locator) {
    auto reply = node->call("kernel.load", {{"plugins", {locator}}});
    EXPECT_FALSE(reply) << locator;
    return reply ? Error(ErrorCode::kFailed, "") : reply.error();
  }
  std::string version_of_plain() { return node->must("plain.who").at("version"); }
  static std::string machine() {
    utsname names{};
    ::uname(&names);
    return names.machine;
  }

  fs::path folder;
  std::string key;
  std::optional<Node> node;
};

TEST_F(LocatorsTest, AUrlIsLoadedAndStillThereWhenTheServerIsNot) {
  publish("repo", "plain.2.1.0.so");
  auto web = std::make_unique<PlainWebServer>(folder / "repo");
  boot({});
  const std::string url = web->url() + "/" + machine() + "/plain.2.1.0.so";
  const std::string digest = "#sha256=" + *sha256_of_file(folder / "repo" / machine() / "plain.2.1.0.so");
  load(url);
  EXPECT_EQ(version_of_plain(), "2.1.0");
  load(url + digest);  // the same one
  const nlohmann::json plugins = node->must("kernel.plugins").at("plugins");
  bool hidden = false;
  for (const auto& one : plugins) {
    if (one.at("name") == "plain") {
      EXPECT_EQ(one.at("owners").size(), 2U);
      EXPECT_THAT(one.at("file").get<std::string>(),
                  HasSubstr((node->folder / "work/plugin-cache").string()));
    }
    hidden = hidden || (one.at("name") == "locator" && one.at("core") == true);
  }
  EXPECT_TRUE(hidden);
  EXPECT_EQ(
      node->call("kernel.load", {{"plugins", {url + "#sha256=" + std::string(64, '0')}}}).error().code(),
      ErrorCode::kCorrupt);
  web.reset();
  EXPECT_EQ(failure(url).code(), ErrorCode::kUnavailable);  // it would have to ask for the digest
  node->must("kernel.unload", {{"plugin", "plain"}});
  node->must("kernel.unload", {{"plugin", "plain"}});
  EXPECT_EQ(node->call("plain.who").error().code(), ErrorCode::kUnsupported);
  const pid_t before = node->kernel_pid();
  ::kill(before, SIGKILL);
  load(url + digest);  // the next kernel finds it in its cache
  EXPECT_NE(node->kernel_pid(), before);
  EXPECT_EQ(version_of_plain(), "2.1.0");
  ::kill(node->kernel_pid(), SIGKILL);
  EXPECT_EQ(version_of_plain(), "2.1.0");  // and so does the one after it, unasked
}

TEST_F(LocatorsTest, HttpsIsVerifiedAgainstTheAuthoritiesOfThisKernel) {
  publish("repo", "plain.2.1.0.so");
  publish("repo", "post.so");
  make_authority("ours", "IP:127.0.0.1");
  make_authority("theirs", "IP:127.0.0.1");
  make_authority("elsewhere", "DNS:elsewhere.test");
  ASSERT_TRUE(write_file_durably(folder / "both.pem", *read_file(folder / "ours.pem", 1 << 20) +
                                                          *read_file(folder / "elsewhere.pem", 1 << 20)));
  const PlainWebServer ours(folder / "repo", folder / "ours-server.pem");
  const PlainWebServer theirs(folder / "repo", folder / "theirs-server.pem");
  const PlainWebServer elsewhere(folder / "repo", folder / "elsewhere-server.pem");
  boot({"--authorities", folder / "both.pem", "--repository", ours.url()});
  const std::string file = "/" + machine() + "/plain.2.1.0.so";
  const std::string digest = "#sha256=" + *sha256_of_file(folder / "repo" / machine() / "plain.2.1.0.so");
  for (const PlainWebServer* other : {&theirs, &elsewhere}) {  // another authority, another name
    const Error refused = failure(other->url() + file);
    EXPECT_EQ(refused.code(), ErrorCode::kUnavailable);
    EXPECT_THAT(refused.describe(), HasSubstr("certificate"));
  }
  EXPECT_EQ(failure(ours.url() + file + "#sha256=" + std::string(64, '0')).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(node->call("plain.who").error().code(), ErrorCode::kUnsupported);
  load(ours.url() + file + digest);
  EXPECT_EQ(version_of_plain(), "2.1.0");
  load("urn:mvm:plugin:post");  // the repository itself
  EXPECT_EQ(node->must("post.who").at("name"), "post");
}

TEST_F(LocatorsTest, TheCacheIsBoundedAndKeepsWhatIsLoaded) {
  for (const char* name : {"plain.so", "post.so", "mail.so"}) publish("repo", name);
  boot({"--plugin-cache-size", "1", "--repository", folder / "repo"});
  const fs::path cached = node->folder / "work/plugin-cache/plugins";
  const auto files = [&] {
    std::set<std::string> names;
    for (const auto& one : fs::recursive_directory_iterator(cached))
      if (one.path().extension() == ".so") names.insert(one.path().filename());
    return names;
  };
  const auto age = [&] {
    for (const auto& one : fs::directory_iterator(cached))
      fs::last_write_time(one.path(), fs::file_time_type::clock::now() - 10min);
  };
  load("urn:mvm:plugin:plain");
  age();
  load("urn:mvm:plugin:post");
  EXPECT_EQ(files(), (std::set<std::string>{"plain.so", "post.so"}));  // both are mapped
  node->must("kernel.unload", {{"plugin", "plain"}});
  age();
  load("urn:mvm:plugin:mail");
  EXPECT_EQ(files(), (std::set<std::string>{"mail.so", "post.so"}));
  EXPECT_EQ(node->must("post.who").at("name"), "post");
  load("urn:mvm:plugin:plain");  // fetched again
  EXPECT_EQ(version_of_plain(), "1.0.0");
}

TEST_F(LocatorsTest, ANameIsLookedForInSeveralRepositories) {
  publish("first", "post.so");
  publish("second", "plain.so");
  publish("second", "plain.2.1.0.so");
  publish("second", "plain.2.1.0.debug.so");
  publish("second", "mail.so");
  // The most recent one cannot be used: its bytes are not those that were signed.
  fs::copy_file(folder / "second" / machine() / "plain.so", folder / "plain.3.9.0.so");
  mvm({"plugin", "publish", folder / "second", folder / "plain.3.9.0.so", "--key", folder / "key"});
  ASSERT_TRUE(write_file_durably(folder / "second" / machine() / "plain.3.9.0.so", "other bytes"));
  const PlainWebServer web(folder / "second");
  boot({"--repository", "http://127.0.0.1:1/none", "--repository", folder / "first", "--repository",
        web.url()});
  load("urn:mvm:plugin:plain");
  EXPECT_EQ(version_of_plain(), "2.1.0");
  EXPECT_EQ(node->must("plain.who").at("number"), 2);  // no debug kernel
  load("urn:mvm:plugin:plain@3");                      // 2.1 speaks 2 and 3
  // The repository that cannot be reached may have it.
  EXPECT_EQ(failure("urn:mvm:plugin:plain@2.1.7").code(), ErrorCode::kUnavailable);
  const Error absent = failure("urn:mvm:plugin:plain@4");
  for (const std::string& text :
       {std::string("http://127.0.0.1:1/none"), (folder / "first").string(), web.url()})
    EXPECT_THAT(absent.describe(), HasSubstr(text));
  EXPECT_EQ(failure("urn:isbn:123").code(), ErrorCode::kInvalid);
  EXPECT_EQ(failure("urn:mvm:plugin:../plain").code(), ErrorCode::kInvalid);
  // A stack of several, in the order of their needs, from where each lies.
  node->must("kernel.load", {{"plugins", {"urn:mvm:plugin:mail", "urn:mvm:plugin:post"}}});
  EXPECT_EQ(node->must("mail.who").at("name"), "mail");
}

TEST_F(LocatorsTest, ADebugKernelTakesTheDebugVariant) {
  publish("repo", "plain.2.1.0.so");
  publish("repo", "plain.2.1.0.debug.so");
  boot({"--debug", "--repository", folder / "repo"});
  load("urn:mvm:plugin:plain");
  EXPECT_EQ(node->must("plain.who").at("number"), 3);
}

TEST_F(LocatorsTest, APluginThatIsThereAsSourceOnlyIsBuiltOnce) {
  const fs::path source = folder / "source";
  ASSERT_TRUE(make_folders(source));
  for (const char* tree : {"/base/include/mvm", "/componentvm/kernel/include/mvm"})
    fs::copy(std::string(MVM_SOURCE_DIR) + tree, source / "mvm", fs::copy_options::recursive);
  fs::copy_file(MVM_SOURCE_DIR "/base/src/unique_fd.cpp", source / "unique_fd.cpp");
  ASSERT_TRUE(write_file_durably(source / "made.cpp", R"(
#include "mvm/kernel/plugin.h"
using namespace mvm::kernel;
struct Made final : Plugin {
  mvm::Status start(Kernel& kernel) override {
    return kernel.handle("made.who", [](Call&) -> mvm::Result<Answer> { return Answer{{{"name", "made"}}, {}, {}}; });
  }
  void stop() override {}
};
MVM_KERNEL_PLUGIN(Made, "made", "1.0.0")
)"));
  const auto offer = [&](const char* plugin, const std::string& command) {
    mvm({"plugin", "publish", folder / "repo", source, "--key", folder / "key", "--builds", plugin,
         "--command", command});
  };
  const std::string command = "g++ -std=c++20 -O0 -shared -fPIC -I. made.cpp unique_fd.cpp -o made.1.0.0.so";
  offer("made.1.0.0.so", command);
  offer("broken.1.0.0.so", "echo this line tells why >&2; exit 3");
  offer("lazy.1.0.0.so", "true");
  offer("link.1.0.0.so", "ln -s /etc/passwd link.1.0.0.so");
  boot({"--repository", folder / "repo"});
  load("urn:mvm:plugin:made@1");
  EXPECT_EQ(node->must("made.who").at("name"), "made");
  EXPECT_THAT(failure("urn:mvm:plugin:broken").describe(), HasSubstr("this line tells why"));
  EXPECT_THAT(failure("urn:mvm:plugin:lazy").describe(), HasSubstr("made no file lazy.1.0.0.so"));
  EXPECT_THAT(failure("urn:mvm:plugin:link").describe(), HasSubstr("made no file link.1.0.0.so"));
  node->must("kernel.unload", {{"plugin", "made"}});
  ::kill(node->kernel_pid(), SIGKILL);
  fs::remove(folder /
             "repo/source/made.1.0.0.so.source");  // not needed: the next kernel knows what was built
  load("urn:mvm:plugin:made@1");
  EXPECT_EQ(node->must("made.who").at("name"), "made");
  const std::lock_guard lock(node->mutex);
  EXPECT_THAT(node->events, Not(testing::Contains("build.done")));  // the host has asked for none
}

TEST_F(LocatorsTest, AnotherResourceManagerTakesThePlace) {
  publish("repo", "post.so");
  boot({"--repository", folder / "repo", "--plugin-source", folder / "repo"});
  load("urn:mvm:plugin:post");
  node->must("kernel.unload", {{"plugin", "post"}});
  fs::path preset = MVM_BINARY_DIR "/tests/actors/finder.so";
  mvm({"plugin", "publish", folder / "repo", preset, "--key", folder / "key"});
  const std::string at = "file://" + (folder / "repo" / machine()).string();
  EXPECT_EQ(failure(at + "/finder.so").code(), ErrorCode::kExists);  // two of them: whom to ask?
  node->must("kernel.unload", {{"plugin", "resources"}});
  load(at + "/finder.so");
  ASSERT_TRUE(write_file_durably(node->folder / "work/finder", "urn:x:letters " + at + "/post.so"));
  load("urn:x:letters");
  EXPECT_EQ(node->must("post.who").at("name"), "post");
  EXPECT_THAT(failure("urn:mvm:plugin:plain").describe(), HasSubstr("the finder knows only"));
  node->must("kernel.unload", {{"plugin", "finder"}});
  node->must("kernel.unload", {{"plugin", "post"}});
  load("urn:mvm:plugin:post");  // ours again, by itself
  EXPECT_EQ(node->must("post.who").at("name"), "post");
}

TEST_F(LocatorsTest, AKernelWithoutRepositoriesAndTrustLoadsNothingFromElsewhere) {
  publish("repo", "post.so");
  node.emplace(NodeOptions{.arguments = {"--plugin-source", folder / "repo"}});
  EXPECT_EQ(failure("file://" + (folder / "repo" / machine() / "post.so").string()).code(),
            ErrorCode::kRefused);
  EXPECT_THAT(failure("urn:mvm:plugin:post").describe(), HasSubstr("--repository"));
  EXPECT_TRUE(fs::is_empty(node->folder / "work/plugin-cache/plugins"));
}

}  // namespace
}  // namespace mvm::kernel
