// mvm-kernel as a program: its command line, its configuration file, its thread pool.
#include "componentvm/kernel/node.h"

namespace mvm::kernel {
namespace {

Captured run(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), MVM_BINARY_DIR "/bin/mvm-kernel");
  auto done = run_captured({.argv = std::move(arguments)}, 20s);
  EXPECT_TRUE(done) << done.error().describe();
  return done ? *done : Captured{};
}

TEST(ProgramTest, WrongUsageIsExplainedAndEndsWithTwo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{}, "--node is required"},
      {{"--node", "x", "--channel", "unix:/tmp/none"}, "expected LAB/NODE"},
      {{"--node", "Lab/a", "--channel", "unix:/tmp/none"}, "expected LAB/NODE"},
      {{"--node", "lab/a", "--channel", "unix:/tmp/none", "--work", "relative"}, "expected an absolute path"},
      {{"--node", "lab/a", "--channel", "unix:/tmp/none", "--threads-max", "1"}, "--threads-max"},
      {{"--node", "lab/a", "--channel", "unix:/tmp/none", "--strange"}, "strange"},
  };
  for (const auto& [arguments, words] : wrong) {
    const Captured said = run(arguments);
    EXPECT_EQ(said.status.code, 2) << testing::PrintToString(arguments);
    EXPECT_THAT(said.output + said.errors, testing::HasSubstr(words));
  }
  EXPECT_EQ(run({"--version"}).status.code, 0);
  EXPECT_THAT(run({"--help"}).output, testing::HasSubstr("--channel"));
}

TEST(ProgramTest, ReadsAConfigurationFile) {
  auto file = make_temporary_folder("/tmp", "mvm-config-");
  ASSERT_TRUE(file);
  ASSERT_TRUE(write_file_durably(*file / "kernel.toml",
                                 "threads-max = 7\nno-default-plugins = true\nplugin = [\"job\"]\n"));
  {
    Node node({.arguments = {"--config", (*file / "kernel.toml").string()}});
    EXPECT_EQ(node.must("kernel.pool").at("maximum"), 7);
    const nlohmann::json plugins = node.must("kernel.plugins").at("plugins");
    ASSERT_EQ(plugins.size(), 1U);
    EXPECT_EQ(plugins[0].at("name"), "job");
    EXPECT_EQ(plugins[0].at("owner"), "kernel");
    EXPECT_EQ(node.call("build.start").error().code(), ErrorCode::kUnsupported);
  }
  ASSERT_TRUE(remove_tree(*file));
}

TEST(ProgramTest, TheThreadPoolIsAdjustedWhileItRuns) {
  Node node;
  const nlohmann::json before = node.must("kernel.pool");
  const nlohmann::json after = node.must("kernel.pool", {{"minimum", 3}, {"maximum", 9}});
  EXPECT_EQ(after.at("minimum"), 3);
  EXPECT_EQ(after.at("maximum"), 9);
  EXPECT_EQ(after.at("queue"), before.at("queue"));
  EXPECT_GE(node.must("kernel.pool").at("threads"), 3);
  EXPECT_EQ(node.call("kernel.pool", {{"maximum", 1}}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(node.call("kernel.pool", {{"minimum", 10}}).error().code(), ErrorCode::kInvalid);
}

TEST(ProgramTest, AnEmptyPluginFolderStillMakesAKernel) {
  auto folder = make_temporary_folder("/tmp", "mvm-plugins-");
  ASSERT_TRUE(folder);
  {
    Node node({.arguments = {"--plugins", folder->string()}});
    EXPECT_TRUE(node.must("kernel.plugins").at("plugins").empty());
    EXPECT_EQ(node.call("proc.list").error().code(), ErrorCode::kUnsupported);
  }
  ASSERT_TRUE(remove_tree(*folder));
}

}  // namespace
}  // namespace mvm::kernel
