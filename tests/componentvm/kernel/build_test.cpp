// Builds in a real node: compiled, refused, limited, cancelled.
#include <sys/socket.h>

#include "componentvm/kernel/node.h"

namespace mvm::kernel {
namespace {

constexpr const char* kHello = "#include <cstdio>\nint main() { std::puts(\"hello from \" WHO); }\n";

class BuildTest : public testing::Test {
 protected:
  /// Starts a build and waits for its end; the key is the command's digest.
  Seen build(const std::string& command, const std::map<std::string, std::string>& files,
             nlohmann::json limits = nlohmann::json::object(),
             nlohmann::json params = nlohmann::json::object()) {
    std::string key = start(command, files, std::move(limits), std::move(params));
    return node_.wait_end(key);
  }
  std::string start(const std::string& command, const std::map<std::string, std::string>& files,
                    nlohmann::json limits = nlohmann::json::object(),
                    nlohmann::json params = nlohmann::json::object()) {
    std::string key = sha256_hex(command);
    node_.must("build.start", {{"key", key},
                               {"source", node_.send_tree(files)},
                               {"command", command},
                               {"params", std::move(params)},
                               {"limits", std::move(limits)}});
    return key;
  }
  Node node_;
};

TEST_F(BuildTest, CompilesAndTheResultRuns) {
  const Seen seen = build("g++ -O0 -DWHO=\\\"$MVM_PARAM_who\\\" hello.cpp -o hello", {{"hello.cpp", kHello}},
                          nlohmann::json::object(), {{"who", "node-a"}, {"other", "x"}});
  ASSERT_TRUE(seen.end->at("ok").get<bool>()) << seen.end->dump() << seen.output.at("out");
  EXPECT_EQ(seen.ends, 1);
  const std::string output = seen.end->at("output").at("digest");
  node_.start_script("run", "./hello", {{"tree", output}});
  EXPECT_EQ(node_.wait_end("j.1/run").output.at("out"), "hello from node-a\n");
  // The host can fetch it, and the builder left nothing else.
  ASSERT_TRUE(channel::fetch_blob(*node_.host, *node_.store, output, 100 << 20, 30s));
  while (!std::filesystem::is_empty(node_.folder / "work/builds")) std::this_thread::yield();
}

TEST_F(BuildTest, AFailedBuildHasTheCompilersOwnWords) {
  const Seen seen =
      build("g++ broken.cpp -o broken", {{"broken.cpp", "int main() { return undeclared; }\n"}});
  EXPECT_FALSE(seen.end->at("ok").get<bool>());
  EXPECT_EQ(seen.end->at("code"), 1);
  EXPECT_FALSE(seen.end->contains("output"));
  EXPECT_THAT(seen.output.at("out"),
              testing::HasSubstr("broken.cpp:1:21: error: ‘undeclared’ was not declared"));
  EXPECT_TRUE(seen.whole);
}

TEST_F(BuildTest, HasNoNetworkNoNeighboursAndNoPrivileges) {
  // A server that a process of this machine reaches, and the build must not.
  const Seen seen = build(
      "python3 look.py; id -u; cat /proc/net/dev | tail -n +3 | grep -v lo: | wc -l; grep CapEff "
      "/proc/self/status; env | sort",
      {{"look.py", R"(import socket, os
s = socket.socket()
s.settimeout(2)
for address in ("127.0.0.1", "10.0.0.1", "1.1.1.1"):
    try:
        s.connect((address, 53))
        print("reached", address)
    except OSError as problem:
        print("cut off", address)
for pid in range(1, 30):
    try:
        os.kill(pid, 0) if pid not in (os.getpid(), os.getppid()) else None
    except ProcessLookupError:
        pass
    except PermissionError:
        print("sees", pid)
)"}},
      nlohmann::json::object(), {{"secret", "not named"}});
  const std::string& out = seen.output.at("out");
  EXPECT_THAT(out, testing::Not(testing::HasSubstr("reached")));
  EXPECT_THAT(out, testing::Not(testing::HasSubstr("sees")));
  EXPECT_THAT(out, testing::HasSubstr("cut off 1.1.1.1\n"));
  EXPECT_THAT(out, testing::HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(out, testing::HasSubstr("\n0\nCapEff"));  // no interface but lo
  EXPECT_THAT(out, testing::Not(testing::HasSubstr("not named")));
  EXPECT_THAT(out, testing::HasSubstr("PKG_CONFIG_PATH="));
  EXPECT_THAT(out, testing::HasSubstr("\n" + std::to_string(::geteuid() == 0 ? 1000 : ::geteuid()) + "\n"));
}

TEST_F(BuildTest, AForkBombIsContainedAndGone) {
  const Seen seen = build("b() { b | b & }; b; sleep 0.5; echo over", {{"x", "x"}},
                          {{"processes", 40}, {"wall_ms", 20000}});
  EXPECT_TRUE(seen.end.has_value());
  // Whatever is left of it would still be forking.
  node_.start_script("after", "echo fine");
  EXPECT_EQ(node_.wait_end("j.1/after").output.at("out"), "fine\n");
  const auto left =
      run_captured({.argv = {"sh", "-c", "ps -eo args= | grep -c '[b]() { b | b' || true"}}, 10s);
  EXPECT_EQ(left->output, "0\n");
}

TEST_F(BuildTest, LimitsEndABuildWithTheReason) {
  const std::string slow = start("sleep 1000", {{"x", "x"}}, {{"wall_ms", 300}});
  const std::string large =
      start("exec head -c 100M /dev/zero > big", {{"x", "x"}}, {{"file_size", 1 << 20}});
  const std::string busy = start("exec sh -c 'while :; do :; done'", {{"x", "x"}}, {{"cpu_s", 1}});
  const std::string hungry =
      start("python3 -c 'x = bytearray(1 << 30)'", {{"x", "x"}}, {{"memory", 300 << 20}});
  EXPECT_EQ(node_.wait_end(slow).end->at("reason"), "the build took longer than its time limit");
  EXPECT_FALSE(node_.wait_end(large).end->at("ok").get<bool>());
  EXPECT_FALSE(node_.wait_end(busy).end->at("ok").get<bool>());
  EXPECT_THAT(node_.wait_end(hungry).output.at("out"), testing::HasSubstr("MemoryError"));
}

TEST_F(BuildTest, ABuildCanBeCancelledAndTriedAgain) {
  const std::string key = start("echo begun; sleep 1000", {{"x", "x"}});
  ASSERT_TRUE(node_.wait_output(key, "begun"));
  // The same key again while it runs joins the running one.
  node_.must("build.start",
             {{"key", key}, {"source", node_.send_tree({{"x", "x"}})}, {"command", "echo other"}});
  node_.must("build.cancel", {{"key", key}});
  const Seen seen = node_.wait_end(key);
  EXPECT_EQ(seen.end->at("reason"), "cancelled");
  EXPECT_EQ(seen.output.at("out"), "begun\n");
  {
    const std::lock_guard lock(node_.mutex);
    node_.seen.erase(key);
  }
  node_.must("build.start",
             {{"key", key}, {"source", node_.send_tree({{"x", "x"}})}, {"command", "echo second"}});
  EXPECT_TRUE(node_.wait_end(key).end->at("ok").get<bool>());
}

TEST_F(BuildTest, HostileSourcesAreRefusedAndLeaveNothing) {
  const std::string key = sha256_hex("k");
  for (const std::string& bytes :
       {std::string("no archive at all"), std::string("PK\3\4") + std::string(1000, 'x')}) {
    auto refused =
        node_.call("build.start", {{"key", key}, {"source", node_.send_bytes(bytes)}, {"command", "true"}});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorrupt);
  }
  EXPECT_EQ(node_.call("build.start", {{"key", key}, {"source", std::string(64, 'b')}, {"command", "true"}})
                .error()
                .code(),
            ErrorCode::kNotFound);
  EXPECT_EQ(
      node_.call("build.start", {{"key", "../x"}, {"source", std::string(64, 'b')}, {"command", "true"}})
          .error()
          .code(),
      ErrorCode::kInvalid);
  EXPECT_TRUE(std::filesystem::is_empty(node_.folder / "work/builds"));
}

}  // namespace
}  // namespace mvm::kernel
