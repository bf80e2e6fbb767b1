// Real kernels with the node plug-in: each serves SOAP, publishes its WSDL, and calls the others.

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <thread>

#include "componentvm/soap/fixture.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/channel/host_end.h"
#include "mvm/soap/node_service.h"

namespace mvm::soap {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

/// A kernel on this machine with the host's end of its channel.
class KernelNode {
 public:
  KernelNode(const std::filesystem::path& parent, const std::string& name)
      : folder_(parent / name), name_(name), token_(64, name.back()) {
    EXPECT_TRUE(make_folders(folder_, 0711));
    channel::HostEnd::Options options{
        .way = channel::HostEnd::Way::kListen, .path = folder_ / "s", .node = "lab/" + name, .position = {}};
    auto end = channel::HostEnd::start(
        std::move(options), {.event = [](const channel::Event&) { return ok(); }, .up = {}, .lost = {}});
    EXPECT_TRUE(end) << end.error().describe();
    host_ = std::move(*end);
    log_.reset(::open((folder_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    auto child = Subprocess::spawn(
        {.argv = {std::string(MVM_BINARY_DIR) + "/bin/mvm-kernel", "--node", "lab/" + name, "--work",
                  (folder_ / "work").string(), "--run", (folder_ / "run").string(), "--channel",
                  "unix:" + (folder_ / "s").string()},
         .standard_output = log_.get(),
         .standard_error = log_.get()});
    EXPECT_TRUE(child) << child.error().describe();
    launcher_.emplace(std::move(*child));
  }
  ~KernelNode() {
    host_.reset();
    launcher_->stop(10s);
  }
  json must(const std::string& op, const json& args) {
    auto reply = host_->call(op, args, 30s);
    EXPECT_TRUE(reply) << op << ": " << reply.error().describe() << "\n"
                       << read_file(folder_ / "log", 1 << 20).value_or("");
    return reply ? reply->result : json::object();
  }
  Result<channel::Reply> call(const std::string& op, const json& args) { return host_->call(op, args, 30s); }
  /// Serves on any port; peers as {name, address, port, token}.
  void configure(const json& peers = json::array()) {
    const json result =
        must("node.configure",
             {{"hosts", peers}, {"soap", {{"address", "127.0.0.1"}, {"port", 0}, {"token", token_}}}});
    port_ = result.value("soap", json::object()).value("port", 0);
    EXPECT_GT(port_, 0);
  }
  [[nodiscard]] json as_peer() const {
    return {{"name", name_}, {"address", "127.0.0.1"}, {"port", port_}, {"token", token_}};
  }
  [[nodiscard]] std::unique_ptr<NodeClient> client(const std::string& token) const {
    return std::move(*NodeClient::create(
        {.url = "http://127.0.0.1:" + std::to_string(port_), .token = token, .timeout = 10s}));
  }
  [[nodiscard]] std::unique_ptr<NodeClient> client() const { return client(token_); }
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
  std::string name_, token_;
  UniqueFd log_;
  std::unique_ptr<channel::HostEnd> host_;
  std::optional<Subprocess> launcher_;
  int port_ = 0;
};

class NodePluginTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-soap-node-");
    ASSERT_EQ(::chmod(folder_.c_str(), 0711), 0);
  }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }
  std::filesystem::path folder_;
};

TEST_F(NodePluginTest, ServesItsWsdlAndWhatItKnows) {
  KernelNode node(folder_, "n1");
  node.configure();
  RawSocket socket(static_cast<std::uint16_t>(node.port()));
  ASSERT_TRUE(socket.open());
  socket.send("GET /?wsdl HTTP/1.0\r\nHost: 10.1.2.3:7781\r\n\r\n");
  EXPECT_THAT(socket.receive(3s), HasSubstr("location=\"http://10.1.2.3:7781/node\""));

  const auto info = node.client()->info();
  ASSERT_TRUE(info) << info.error().describe();
  EXPECT_EQ(info->node, "n1");
  EXPECT_EQ(info->lab, "lab");
  EXPECT_FALSE(info->boot.empty());
  EXPECT_FALSE(info->version.empty());
  const auto plugins = node.client()->plugins();
  ASSERT_TRUE(plugins) << plugins.error().describe();
  EXPECT_THAT(*plugins, Contains(testing::Field(&NodePluginView::name, "node")));
  EXPECT_THAT(*plugins, Contains(testing::Field(&NodePluginView::name, "job")));

  node.must("proc.start", {{"proc", "j.1/cell[0]"},
                           {"attempt", "j.1"},
                           {"job", "j"},
                           {"role", "cell"},
                           {"index", 0},
                           {"count", 1},
                           {"argv", {"/bin/sh", "-c", "exit 7"}},
                           {"environment", json::object()},
                           {"tree", ""},
                           {"kind", "job"}});
  const auto end = std::chrono::steady_clock::now() + 20s;
  std::vector<NodeProcessView> processes;
  while ((processes.empty() || processes[0].state == "running") && std::chrono::steady_clock::now() < end)
    processes = node.client()->processes().value_or(std::vector<NodeProcessView>());
  ASSERT_EQ(processes.size(), 1U);
  EXPECT_THAT(processes[0].process, HasSubstr("cell[0]"));
  EXPECT_EQ(processes[0].state, "exited");
  EXPECT_EQ(processes[0].code, 7);
  EXPECT_TRUE(node.client()->queues()) << "none is no error";
}

TEST_F(NodePluginTest, StrangersAreRefused) {
  KernelNode node(folder_, "n1");
  node.configure();
  EXPECT_EQ(node.client("")->info().error().code(), ErrorCode::kRefused);
  EXPECT_EQ(node.client(std::string(64, 'x'))->processes().error().code(), ErrorCode::kRefused);
  struct stat info {};
  ASSERT_EQ(::stat((node.folder() / "run/node.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U) << "it holds the token";
}

TEST_F(NodePluginTest, NodesCallEachOther) {
  KernelNode one(folder_, "n1"), two(folder_, "n2"), three(folder_, "n3");
  for (KernelNode* node : {&one, &two, &three}) node->configure();
  const json peers{one.as_peer(), two.as_peer(), three.as_peer()};
  for (KernelNode* node : {&one, &two, &three}) node->configure(peers);
  EXPECT_THAT(*one.client()->visit({}, {"n2", "n3", "n1"}), ElementsAre("n1", "n2", "n3", "n1"));
  EXPECT_EQ(one.client()->visit({}, {"n2", "elsewhere"}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(one.client()->info()->peers.size(), 3U);
  // And at the host's wish, over the guest channel.
  EXPECT_EQ(one.must("node.call", {{"peer", "n3"}, {"op", "info"}})["node"], "n3");
  EXPECT_EQ(one.must("node.call", {{"peer", "n2"}, {"op", "visit"}, {"route", {"n1"}}})["visited"],
            (json{"n2", "n1"}));
  EXPECT_EQ(one.call("node.call", {{"peer", "n9"}, {"op", "info"}}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(one.call("node.call", {{"peer", "n2"}, {"op", "explode"}}).error().code(),
            ErrorCode::kUnsupported);
  EXPECT_THAT(*read_file(one.folder() / "run/hosts", 10'000), HasSubstr("127.0.0.1 n2\n"));
}

TEST_F(NodePluginTest, MalformedConfigurationsAreRefused) {
  KernelNode node(folder_, "n1");
  const auto refused = [&](const json& args) {
    const auto reply = node.call("node.configure", args);
    return !reply && reply.error().code() == ErrorCode::kInvalid;
  };
  const std::string token(64, 'a');
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused({{"soap", 7}}));
  EXPECT_TRUE(refused({{"soap", {{"address", "127.0.0.1"}, {"port", 0}, {"token", "short"}}}}));
  EXPECT_TRUE(refused({{"soap", {{"address", "nowhere else"}, {"port", 0}, {"token", token}}}}));
  EXPECT_TRUE(refused({{"soap", {{"address", "127.0.0.1"}, {"port", 0}, {"token", token}}},
                       {"hosts", {{{"name", "a\nb"}, {"address", "1.2.3.4"}}}}}));
  EXPECT_TRUE(refused({{"soap", {{"address", "127.0.0.1"}, {"port", 0}, {"token", token}}}, {"hosts", {5}}}));
  node.configure();
  EXPECT_TRUE(node.client()->info());
}

TEST_F(NodePluginTest, AKernelThatWasStartedAgainServesAgain) {
  KernelNode node(folder_, "n1");
  node.configure();
  const int port = node.port();
  const auto first = node.must("node.info", json::object());
  ASSERT_GT(first.value("pid", 0), 1);
  ASSERT_EQ(::kill(first.value("pid", 0), SIGKILL), 0);
  // The next answer over the channel comes from the next kernel.
  json info = first;
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (info.value("pid", 0) == first.value("pid", 0) && std::chrono::steady_clock::now() < end)
    if (auto reply = node.call("node.info", json::object())) info = reply->result;
  ASSERT_NE(info.value("pid", 0), first.value("pid", 0));
  const auto served = node.client()->info();
  ASSERT_TRUE(served) << served.error().describe();
  EXPECT_EQ(served->boot, first.value("boot", ""));
  node.configure();
  EXPECT_EQ(node.port(), port) << "asked again for any port, it keeps its own";
}

}  // namespace
}  // namespace mvm::soap
