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
      {{"--channel", "unix:/tmp/none"}, "--node is required"},
      {{"--node", "x"}, "expected LAB/NODE"},
      {{"--spawn", " "}, "--spawn"},
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

/// A kernel without a host, as it is started by hand.
class Alone {
 public:
  explicit Alone(std::vector<std::string> arguments, const std::string& program = "mvm-kernel") {
    folder = *make_temporary_folder("/tmp", "mvm-alone-");
    ::chmod(folder.c_str(), 0711);
    arguments.insert(arguments.begin(), MVM_BINARY_DIR "/bin/" + program);
    const UniqueFd out(::open((folder / "out").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    const UniqueFd err(::open((folder / "err").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    SpawnOptions spawn;
    spawn.argv = std::move(arguments);
    spawn.environment = {{"XDG_RUNTIME_DIR", folder.string()}};
    spawn.standard_output = out.get();
    spawn.standard_error = err.get();
    auto child = Subprocess::spawn(spawn);
    EXPECT_TRUE(child) << child.error().describe();
    if (child) kernel.emplace(std::move(*child));
  }
  ~Alone() {
    if (kernel) (void)end();
    (void)remove_tree(folder);
  }
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;
  std::string said(const char* stream) const {
    auto text = read_file(folder / stream, 1 << 20);
    return text ? *text : "";
  }
  /// Until the text is there, or the program is not.
  bool wait_for(const char* stream, const std::string& text) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (said(stream).find(text) == std::string::npos)
      if (std::chrono::steady_clock::now() > until || kernel->wait_for(10ms))
        return said(stream).find(text) != std::string::npos;
    return true;
  }
  ExitStatus end() {
    kernel->signal(SIGTERM);
    const ExitStatus status = kernel->wait_for(20s).value_or(ExitStatus{255, SIGKILL});
    kernel.reset();
    return status;
  }
  std::filesystem::path folder;
  std::optional<Subprocess> kernel;
};

TEST(ProgramTest, AKernelRunsAloneWithoutAnyOption) {
  Alone alone({});
  ASSERT_TRUE(alone.wait_for("err", "kernel.started")) << alone.said("err");
  const auto ours = alone.folder / ("mvm-kernel-" + std::to_string(::geteuid()));
  EXPECT_TRUE(std::filesystem::exists(ours));
  EXPECT_EQ(alone.end().code, 0);
  EXPECT_THAT(alone.said("err"), testing::HasSubstr("node=alone/k"));
  EXPECT_FALSE(std::filesystem::exists(ours)) << "its folders outlive it";
}

TEST(ProgramTest, ProgramsAreStartedWithTheKernelAndEndWithIt) {
  Alone alone({"--node", "laptop/one", "--spawn", "sh -c 'echo node $MVM_NODE; echo wrong >&2; exit 3'",
               "--spawn", "sh -c 'echo pid $$; exec sleep 1000'"});
  ASSERT_TRUE(alone.wait_for("out", "node laptop/one")) << alone.said("err");
  ASSERT_TRUE(alone.wait_for("err", "code\\\":3")) << alone.said("err");
  EXPECT_TRUE(alone.wait_for("err", "wrong"));
  ASSERT_TRUE(alone.wait_for("out", "pid "));
  const std::string out = alone.said("out");
  const auto pid = static_cast<pid_t>(std::stol(out.substr(out.find("pid ") + 4)));
  EXPECT_EQ(::kill(pid, 0), 0);
  EXPECT_EQ(alone.end().code, 0);
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(ProgramTest, WhatCannotBeStartedEndsAKernelThatIsAlone) {
  Alone alone({"--spawn", "/tmp/not-in-a-program-folder"});
  ASSERT_TRUE(alone.wait_for("err", "neither in a program folder")) << alone.said("err");
  EXPECT_EQ(alone.kernel->wait_for(20s).value_or(ExitStatus{0, 0}).code, 1);
  alone.kernel.reset();
  Alone other({"--plugin", "no-such-plugin"});
  ASSERT_TRUE(other.wait_for("err", "no plug-in no-such-plugin")) << other.said("err");
  EXPECT_EQ(other.kernel->wait_for(20s).value_or(ExitStatus{0, 0}).code, 1);
  other.kernel.reset();
}

TEST(ProgramTest, ADaemonGoesOnByItself) {
  const auto folder = *make_temporary_folder("/tmp", "mvm-daemon-");
  ::chmod(folder.c_str(), 0711);
  const auto daemon = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--daemon", "--work", folder / "work", "--run", folder / "run"});
    return run(std::move(arguments));
  };
  ASSERT_TRUE(
      write_file_durably(folder / "kernel.toml", "node = \"laptop/three\"\nspawn = [\"sleep 1000\"]\n"));
  const Captured said = daemon({"--config", folder / "kernel.toml"});
  EXPECT_EQ(said.status.code, 0) << said.errors;
  const auto pid = static_cast<pid_t>(std::stol("0" + said.output));
  ASSERT_GT(pid, 1) << said.output;
  // All that it was told to have is there when the first program ends.
  const auto log = read_file(folder / "run/kernel.log", 1 << 20);
  ASSERT_TRUE(log) << log.error().describe();
  EXPECT_THAT(*log, testing::HasSubstr("program.spawned"));
  EXPECT_EQ(::getsid(pid), pid) << "nobody's terminal ends it";
  // A second one in the same folder touches nothing of the first one's.
  const Captured second = daemon({"--log-file", folder / "second.log"});
  EXPECT_EQ(second.status.code, 1);
  EXPECT_THAT(second.errors, testing::HasSubstr("another kernel runs in " + (folder / "run").string()));
  EXPECT_EQ(::kill(pid, 0), 0);
  EXPECT_EQ(::kill(pid, SIGTERM), 0);
  for (int i = 0; i < 2000 && ::kill(pid, 0) == 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_NE(::kill(pid, 0), 0);

  const Captured failed = daemon({"--plugin", "no-such-plugin", "--log-file", folder / "other.log"});
  EXPECT_EQ(failed.status.code, 1);
  EXPECT_THAT(failed.errors, testing::HasSubstr("no plug-in no-such-plugin"));
  EXPECT_EQ(daemon({"--log-file", folder / "none" / "log"}).status.code, 1);
  EXPECT_EQ(run({"--log-file", folder / "log"}).status.code, 2);
  ASSERT_TRUE(remove_tree(folder));
}

TEST(ProgramTest, TheDebugVariantSaysMore) {
  Alone alone({"--spawn", "true"}, "mvm-kernel.debug");
  ASSERT_TRUE(alone.wait_for("err", "spawn.exit")) << alone.said("err");
  EXPECT_THAT(alone.said("err"), testing::HasSubstr("debug plugin.memory name=job"));
  EXPECT_EQ(alone.end().code, 0);
}

TEST(ProgramTest, ProgramsAndPluginsCanBeNamedInTheConfigurationFile) {
  Alone other({});  // a second one is in nobody's way
  auto file = make_temporary_folder("/tmp", "mvm-config-");
  ASSERT_TRUE(file);
  ASSERT_TRUE(write_file_durably(*file / "kernel.toml",
                                 "node = \"laptop/two\"\nplugin = [\"job\"]\nno-default-plugins = true\n"
                                 "spawn = [\"sh -c 'echo hello from $MVM_NODE'\", \"true\"]\n"));
  {
    Alone alone({"--config", (*file / "kernel.toml").string()});
    ASSERT_TRUE(alone.wait_for("out", "hello from laptop/two")) << alone.said("err");
    EXPECT_THAT(alone.said("err"), testing::HasSubstr("plugin.loaded name=job"));
    EXPECT_THAT(alone.said("err"), testing::Not(testing::HasSubstr("name=builder")));
    EXPECT_EQ(alone.end().code, 0);
  }
  EXPECT_EQ(other.end().code, 0);
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
  node.kill_kernel(1);
  EXPECT_EQ(node.must("kernel.pool").at("maximum"), 9) << "a kernel that is started again keeps it";
  EXPECT_EQ(node.must("kernel.pool").at("minimum"), 3);
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
