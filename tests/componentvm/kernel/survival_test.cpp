// Whoever is killed, jobs live on where they may, and nothing is left where they may not.
#include "componentvm/kernel/node.h"

namespace mvm::kernel {
namespace {

/// Processes whose command line names the node's folder, or that run our marker.
std::string processes_with(const std::string& text) {
  auto listed = run_captured({.argv = {"ps", "-eo", "pid=,args="}}, 10s);
  std::istringstream lines(listed->output);
  std::string found;
  for (std::string line; std::getline(lines, line);)
    if (line.find(text) != std::string::npos && line.find("ps -eo") == std::string::npos)
      found += line + "\n";
  return found;
}

bool wait_gone(const std::string& text) {
  for (int i = 0; i < 2000; ++i) {
    if (processes_with(text).empty()) return true;
    ::usleep(5000);
  }
  return false;
}

class SurvivalTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && ::geteuid() != 0) GTEST_SKIP() << "a PID name space needs root";
    node_.emplace(NodeOptions{.first_process = GetParam()});
  }
  std::optional<Node> node_;
};

TEST_P(SurvivalTest, JobsLiveOnWhenTheKernelIsKilled) {
  node_->start_script("count",
                      "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 5");
  node_->start_script("quick", "echo quick; exit 3");
  ASSERT_TRUE(node_->wait_output("j.1/count", "line 3"));
  for (int round = 0; round < 3; ++round) {
    const pid_t kernel = node_->kernel_pid();
    ASSERT_GT(kernel, 0);
    ::kill(kernel, SIGKILL);
    ASSERT_TRUE(node_->wait([&] {
      return std::count(node_->events.begin(), node_->events.end(), "node.kernel") == round + 1;
    })) << node_->log();
    EXPECT_EQ(node_->must("node.info").at("restarts"), round + 1);
  }
  const Seen seen = node_->wait_end("j.1/count");
  std::string expected;
  for (int i = 0; i < 60; ++i) expected += "line " + std::to_string(i) + "\n";
  EXPECT_EQ(seen.output.at("out"), expected);
  EXPECT_TRUE(seen.whole);
  EXPECT_EQ(seen.end->at("code"), 5);
  EXPECT_EQ(seen.ends, 1);
  EXPECT_EQ(node_->wait_end("j.1/quick").ends, 1);
  EXPECT_EQ(node_->must("proc.list", {{"attempt", "j.1"}}).at("processes").size(), 2U);
}

TEST_P(SurvivalTest, ABuildLivesOnWhenTheKernelIsKilled) {
  const std::string key = sha256_hex("b");
  node_->must("build.start", {{"key", key},
                              {"source", node_->send_tree({{"x", "x"}})},
                              {"command", "echo first; sleep 1; echo second; echo made > result"}});
  ASSERT_TRUE(node_->wait_output(key, "first"));
  ::kill(node_->kernel_pid(), SIGKILL);
  const Seen seen = node_->wait_end(key);
  EXPECT_EQ(seen.output.at("out"), "first\nsecond\n");
  EXPECT_TRUE(seen.end->at("ok").get<bool>()) << seen.end->dump();
  EXPECT_EQ(seen.ends, 1);
}

TEST_P(SurvivalTest, OutputWaitsForAHostThatIsAway) {
  node_->start_script("talk", "seq 1 30000; echo end");
  ASSERT_TRUE(node_->wait_output("j.1/talk", "1"));
  channel::Position now = node_->host->position();
  node_->host.reset();
  now.after = node_->events.size();  // numbered from 1 without gaps; some were handled since
  node_->start_host(now);
  const Seen seen = node_->wait_end("j.1/talk");
  std::string expected;
  for (int i = 1; i <= 30000; ++i) expected += std::to_string(i) + "\n";
  EXPECT_TRUE(seen.output.at("out") == expected + "end\n");
  EXPECT_TRUE(seen.whole);
  EXPECT_EQ(seen.ends, 1);
}

TEST_P(SurvivalTest, AFullSpoolHoldsTheProcessAndLosesNothing) {
  node_.reset();
  node_.emplace(NodeOptions{.first_process = GetParam(), .arguments = {"--spool", "65536"}});
  node_->must("node.info");
  node_->start_script("flood", "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end");
  const Seen seen = node_->wait_end("j.1/flood");
  EXPECT_EQ(seen.output.at("out").size(), 20000000U + 5);
  EXPECT_TRUE(seen.whole);
}

TEST_P(SurvivalTest, SigtermEndsAllAtOnce) {
  node_->start_script("stay", "trap '' TERM; (setsid sleep 98765 &); echo up; sleep 98765; sleep 98765");
  ASSERT_TRUE(node_->wait_output("j.1/stay", "up"));
  const auto begin = std::chrono::steady_clock::now();
  const ExitStatus status = node_->stop_kernel();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  EXPECT_TRUE(GetParam() || status.code == 0);
  EXPECT_TRUE(wait_gone("sleep 98765")) << processes_with("sleep 98765");
  EXPECT_TRUE(wait_gone(node_->folder.string())) << processes_with(node_->folder.string());
}

TEST_P(SurvivalTest, NothingIsLeftWhenTheLauncherIsKilled) {
  node_->start_script("stay", "trap '' TERM; (setsid sleep 87654 &); echo up; sleep 87654; sleep 87654");
  ASSERT_TRUE(node_->wait_output("j.1/stay", "up"));
  ::kill(node_->launcher->pid(), SIGKILL);
  (void)node_->launcher->wait();
  node_->launcher.reset();
  EXPECT_TRUE(wait_gone("sleep 87654")) << processes_with("sleep 87654");
  EXPECT_TRUE(wait_gone(node_->folder.string())) << processes_with(node_->folder.string());
}

INSTANTIATE_TEST_SUITE_P(Node, SurvivalTest, testing::Values(false, true),
                         [](const auto& which) { return which.param ? "AsFirstProcess" : "AsPlainProcess"; });

}  // namespace
}  // namespace mvm::kernel
