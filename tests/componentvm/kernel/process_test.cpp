// A node with real processes: started, fed, watched, limited, outlived.
#include <fstream>

#include "componentvm/kernel/node.h"

namespace mvm::kernel {
namespace {

std::vector<std::string> children_of_ours(const Node& node) {
  auto listed = run_captured({.argv = {"ps", "-eo", "args="}}, 10s);
  std::vector<std::string> found;
  std::istringstream lines(listed->output);
  for (std::string line; std::getline(lines, line);)
    if (line.find(node.folder.string()) != std::string::npos) found.push_back(line);
  return found;
}

class ProcessTest : public testing::Test {
 protected:
  Node node_;
};

TEST_F(ProcessTest, TellsWhatItIs) {
  const nlohmann::json info = node_.must("node.info");
  EXPECT_EQ(info.at("node"), "lab/a");
  EXPECT_EQ(info.at("restarts"), 0);
  EXPECT_THAT(info.at("plugins").get<std::vector<std::string>>(), testing::IsSupersetOf({"job", "builder"}));
  const nlohmann::json versions = node_.must("node.info", {{"versions", true}});
  bool compiler = false;
  for (const nlohmann::json& tool : versions.at("toolchains"))
    compiler =
        compiler || (tool.at("name") == "g++" && tool.at("version").get<std::string>().starts_with("1"));
  EXPECT_TRUE(compiler) << versions.dump();
  EXPECT_EQ(node_.call("no.such").error().code(), ErrorCode::kUnsupported);
}

TEST_F(ProcessTest, RelaysBothStreamsAndTheExitCode) {
  node_.start_script("x", "echo to out; echo to err >&2; exit 7");
  const Seen seen = node_.wait_end("j.1/x");
  EXPECT_EQ(seen.output.at("out"), "to out\n");
  EXPECT_EQ(seen.output.at("err"), "to err\n");
  EXPECT_EQ(seen.end->at("code"), 7);
  EXPECT_EQ(seen.end->at("signal"), 0);
  const nlohmann::json list = node_.must("proc.list", {{"attempt", "j.1"}});
  ASSERT_EQ(list.at("processes").size(), 1U);
  EXPECT_EQ(list.at("processes")[0].at("state"), "exited");
}

TEST_F(ProcessTest, MegabytesOfOutputArriveWholeAndInOrder) {
  node_.start_script("big", "seq 1 400000");
  const Seen seen = node_.wait_end("j.1/big");
  EXPECT_TRUE(seen.whole);
  std::string expected;
  for (int i = 1; i <= 400000; ++i) expected += std::to_string(i) + "\n";
  EXPECT_EQ(seen.output.at("out").size(), expected.size());
  EXPECT_TRUE(seen.output.at("out") == expected);
}

TEST_F(ProcessTest, ReadsItsInputToTheEnd) {
  node_.start_script("cat", "cat; echo done", {{"stdin", true}});
  EXPECT_EQ(node_.must("proc.input", {{"proc", "j.1/cat"}, {"offset", 0}}, "hello ").at("offset"), 6);
  // The same again is not given twice; what goes on from there is.
  EXPECT_EQ(node_.must("proc.input", {{"proc", "j.1/cat"}, {"offset", 0}}, "hello ").at("offset"), 6);
  EXPECT_EQ(
      node_.must("proc.input", {{"proc", "j.1/cat"}, {"offset", 6}, {"eof", true}}, "world\n").at("offset"),
      12);
  EXPECT_EQ(node_.wait_end("j.1/cat").output.at("out"), "hello world\ndone\n");
  EXPECT_EQ(node_.call("proc.input", {{"proc", "j.1/cat"}, {"offset", 12}}, "x").error().code(),
            ErrorCode::kConflict);
}

TEST_F(ProcessTest, ASignalEndsItAndIsReported) {
  node_.start_script("sleeper", "echo up; exec sleep 1000");
  ASSERT_TRUE(node_.wait_output("j.1/sleeper", "up"));
  node_.must("proc.signal", {{"proc", "j.1/sleeper"}, {"signal", SIGTERM}});
  const Seen seen = node_.wait_end("j.1/sleeper");
  EXPECT_EQ(seen.end->at("signal"), SIGTERM);
  EXPECT_EQ(seen.end->at("code"), 128 + SIGTERM);
}

TEST_F(ProcessTest, HowAProcessEndedIsRightHoweverSoonItEnds) {
  for (int i = 0; i < 60; ++i) {
    const std::string name = "p" + std::to_string(i);
    node_.start_script(name, "exit 3");
    EXPECT_EQ(node_.wait_end("j.1/" + name).end->at("code"), 3) << name;
  }
}

TEST_F(ProcessTest, StartingTwiceStartsOnce) {
  const nlohmann::json first = node_.start_script("once", "echo one; sleep 1000");
  const nlohmann::json second = node_.start_script("once", "echo two; sleep 1000");
  EXPECT_EQ(first, second);
  ASSERT_TRUE(node_.wait_output("j.1/once", "one"));
  node_.must("attempt.clean", {{"attempt", "j.1"}});
  EXPECT_EQ(node_.seen["j.1/once"].output["out"], "one\n");
}

TEST_F(ProcessTest, IsUnprivilegedAndHasNothingOfTheKernel) {
  node_.start_script(
      "who",
      "id -u; grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status; ls /proc/self/fd | tr "
      "'\\n' ' '; ulimit -c; env | sort; touch /etc/x 2>&1");
  const std::string out = node_.wait_end("j.1/who").output.at("out");
  if (::geteuid() == 0) {
    EXPECT_TRUE(out.starts_with("1000\n")) << out;
    EXPECT_THAT(out, testing::HasSubstr("CapBnd:\t0000000000000000"));
  }
  EXPECT_THAT(out, testing::HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(out, testing::HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(out, testing::HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(out,
              testing::HasSubstr("\n0 1 2 3 0\n"));  // 3 is the folder that ls reads; then the core limit
  EXPECT_THAT(out, testing::Not(testing::HasSubstr("MVM_RUN")));
}

TEST_F(ProcessTest, DangerousSystemCallsAreRefused) {
  const std::string tree = node_.send_tree({{"t.py", R"(import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, args in (("unshare", (0x10000000,)), ("mount", (b"a", b"/tmp", b"tmpfs", 0, None)), ("setns", (0, 0)),
                   ("pivot_root", (b"/", b"/"))):
    result = getattr(libc, name)(*args)
    print(name, result, os.strerror(ctypes.get_errno()))
)"}});
  node_.start_script("calls", "python3 t.py", {{"tree", tree}});
  const std::string out = node_.wait_end("j.1/calls").output.at("out");
  for (const char* name : {"unshare", "mount", "setns", "pivot_root"})
    EXPECT_THAT(out, testing::HasSubstr(std::string(name) + " -1 Operation not permitted"));
}

TEST_F(ProcessTest, LimitsHold) {
  node_.start_script("wall", "sleep 1000", {{"limits", {{"wall_ms", 200}}}});
  node_.start_script("size", "dd if=/dev/zero of=big bs=1M count=10 2>/dev/null",
                     {{"limits", {{"file_size", 1 << 20}}}});
  node_.start_script("cpu", "while :; do :; done", {{"limits", {{"cpu_s", 1}}}});
  node_.start_script("memory", "python3 -c 'x = bytearray(1 << 30)'", {{"limits", {{"memory", 256 << 20}}}});
  EXPECT_EQ(node_.wait_end("j.1/wall").end->at("reason"), "wall-time");
  EXPECT_NE(node_.wait_end("j.1/size").end->at("code"), 0);
  EXPECT_EQ(node_.must("file.get", {{"proc", "j.1/size"}, {"name", "big"}}).at("size"), 1 << 20);
  EXPECT_EQ(node_.wait_end("j.1/cpu").end->at("signal"), SIGXCPU);
  node_.start_script("files", "ulimit -n; ulimit -Hn", {{"limits", {{"open_files", 100}}}});
  EXPECT_EQ(node_.wait_end("j.1/files").output.at("out"), "100\n100\n");
  EXPECT_THAT(node_.wait_end("j.1/memory").output.at("err"), testing::HasSubstr("MemoryError"));
}

TEST_F(ProcessTest, OnlyProgramsOfThePresetFoldersAndItsOwnRun) {
  const std::string tree = node_.send_tree({{"mine", "#!/bin/sh\necho mine\n"}});
  const auto start = [&](const std::string& name, const std::string& program) {
    return node_.call("proc.start",
                      {{"proc", "j.1/" + name}, {"attempt", "j.1"}, {"argv", {program}}, {"tree", tree}});
  };
  EXPECT_TRUE(start("a", "./mine"));
  EXPECT_EQ(node_.wait_end("j.1/a").output.at("out"), "mine\n");
  EXPECT_TRUE(start("b", "true"));
  EXPECT_EQ(start("c", "/opt/strange/program").error().code(), ErrorCode::kRefused);
  EXPECT_EQ(start("d", "/usr/bin/../../etc/init.d/x").error().code(), ErrorCode::kRefused);
  EXPECT_EQ(start("e", "../../../../bin/true").error().code(), ErrorCode::kRefused);
  EXPECT_EQ(start("f", "./missing").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(start("g", "no-such-program").error().code(), ErrorCode::kNotFound);
}

TEST_F(ProcessTest, StagedFilesComeAndResultsGo) {
  const std::string tree = node_.send_tree(
      {{"run.sh", "#!/bin/sh\ntr a-z A-Z < data/in.txt > out.txt; ln -s /etc/passwd sneak\n"}});
  const std::string data = node_.send_bytes("some text");
  node_.must("proc.start", {{"proc", "j.1/s"},
                            {"attempt", "j.1"},
                            {"argv", {"./run.sh"}},
                            {"tree", tree},
                            {"staged", {{{"digest", data}, {"name", "data/in.txt"}}}}});
  EXPECT_EQ(node_.wait_end("j.1/s").end->at("code"), 0);
  const nlohmann::json file = node_.must("file.get", {{"proc", "j.1/s"}, {"name", "out.txt"}});
  EXPECT_EQ(file.at("size"), 9);
  ASSERT_TRUE(channel::fetch_blob(*node_.host, *node_.store, file.at("digest"), 1 << 20, 10s));
  EXPECT_EQ(*node_.store->read_whole(file.at("digest"), 100), "SOME TEXT");
  EXPECT_EQ(node_.call("file.get", {{"proc", "j.1/s"}, {"name", "sneak"}}).error().code(),
            ErrorCode::kRefused);
  EXPECT_EQ(node_.call("file.get", {{"proc", "j.1/s"}, {"name", "../../../../etc/passwd"}}).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(node_.call("file.get", {{"proc", "j.1/s"}, {"name", "none"}}).error().code(),
            ErrorCode::kNotFound);
  EXPECT_EQ(
      node_
          .call("proc.start",
                {{"proc", "j.1/t"}, {"attempt", "j.1"}, {"argv", {"true"}}, {"tree", std::string(64, 'a')}})
          .error()
          .code(),
      ErrorCode::kNotFound);
}

TEST_F(ProcessTest, HeldProcessesBeginTogetherAndNotBefore) {
  for (const std::string name : {"a", "b"}) {
    node_.start_script(name, "echo began", {{"hold", true}, {"limits", {{"wall_ms", 60'000}}}});
    node_.start_script(name, "echo began", {{"hold", true}});  // repeated: the same one
  }
  // It has its confinement and its folder, and waits in front of its program.
  const nlohmann::json listed = node_.must("proc.list", {{"attempt", "j.1"}}).at("processes");
  ASSERT_EQ(listed.size(), 2U);
  for (const nlohmann::json& process : listed) {
    EXPECT_EQ(process.at("state"), "running");
    const std::string own = "/proc/" + std::to_string(process.at("pid").get<long>());
    EXPECT_EQ(std::filesystem::read_symlink(own + "/exe").filename(), "mvm-kernel");
    EXPECT_TRUE(std::filesystem::read_symlink(own + "/cwd").string().starts_with(node_.folder.string()));
  }
  node_.start_script("free", "echo free");
  EXPECT_EQ(node_.wait_end("j.1/free").output.at("out"), "free\n");
  EXPECT_TRUE(node_.seen["j.1/a"].output["out"].empty());
  const nlohmann::json both = {{"procs", {"j.1/a", "j.1/b"}}};
  node_.must("proc.release", both);
  EXPECT_EQ(node_.wait_end("j.1/a").output.at("out"), "began\n");
  EXPECT_EQ(node_.wait_end("j.1/b").output.at("out"), "began\n");
  node_.must("proc.release", both);  // may be repeated
  EXPECT_EQ(node_.call("proc.release", {{"procs", {"j.1/none"}}}).error().code(), ErrorCode::kNotFound);
}

TEST_F(ProcessTest, HeldProcessesOutliveTheKernelAndNothingElse) {
  node_.start_script("kept", "echo began", {{"hold", true}});
  node_.start_script("killed", "echo began", {{"hold", true}});
  node_.start_script("ended", "echo began", {{"hold", true}});
  const std::string tree = node_.send_tree({{"odd",
                                             "\x7f"
                                             "ELF, but no program\n"}});
  node_.must("proc.start",
             {{"proc", "j.1/odd"}, {"attempt", "j.1"}, {"argv", {"./odd"}}, {"tree", tree}, {"hold", true}});
  ::kill(node_.kernel_pid(), SIGKILL);
  node_.must("proc.signal", {{"proc", "j.1/killed"}, {"signal", SIGKILL}});
  node_.must("proc.signal", {{"proc", "j.1/ended"}, {"signal", SIGTERM}});
  EXPECT_EQ(node_.wait_end("j.1/killed").output.count("out"), 0U);
  EXPECT_EQ(node_.wait_end("j.1/ended").end->at("signal"), SIGTERM);
  EXPECT_EQ(node_.call("proc.release", {{"procs", {"j.1/ended"}}}).error().code(), ErrorCode::kAborted);
  const auto odd = node_.call("proc.release", {{"procs", {"j.1/odd", "j.1/kept"}}});
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().code(), ErrorCode::kFailed);
  EXPECT_THAT(odd.error().describe(), testing::HasSubstr("execute"));
  EXPECT_EQ(node_.wait_end("j.1/odd").end->at("code"), 127);
  EXPECT_EQ(node_.wait_end("j.1/kept").output.at("out"), "began\n");

  node_.start_script("left", "echo began", {{"hold", true}});
  node_.start_script("cleaned", "echo began", {{"hold", true}});
  node_.must("attempt.clean", {{"attempt", "j.1"}});
  for (const std::string& line : children_of_ours(node_))
    EXPECT_THAT(line, testing::HasSubstr("mvm-kernel")) << line;
  EXPECT_TRUE(node_.must("proc.list", {{"attempt", "j.1"}}).at("processes").empty());
}

TEST_F(ProcessTest, HeldProcessesEndWithTheirLauncher) {
  node_.start_script("a", "echo began", {{"hold", true}});
  node_.start_script("b", "echo began", {{"hold", true}});
  std::vector<std::string> pids;
  const nlohmann::json listed = node_.must("proc.list", {{"attempt", "j.1"}});
  for (const nlohmann::json& process : listed.at("processes"))
    pids.push_back(std::to_string(process.at("pid").get<long>()));
  ASSERT_EQ(pids.size(), 2U);
  ::kill(node_.find_process("--work", "--control"), SIGKILL);
  for (const std::string& pid : pids)
    while (std::filesystem::exists("/proc/" + pid)) std::this_thread::yield();
  node_.launcher.reset();
}

TEST_F(ProcessTest, NothingOfAProcessSurvivesIt) {
  node_.start_script(
      "daemon",
      "setsid sleep 1000 & echo $!; (sleep 1000 & echo $!); (setsid sh -c 'sleep 1000 & echo $!; wait' &)");
  std::istringstream lines(node_.wait_end("j.1/daemon").output.at("out"));
  int pids = 0;
  for (std::string pid; std::getline(lines, pid);) {
    ++pids;
    EXPECT_FALSE(std::filesystem::exists("/proc/" + pid))
        << read_file("/proc/" + pid + "/cmdline", 4096).value_or("");
  }
  EXPECT_GE(pids, 2);
}

TEST_F(ProcessTest, CleaningLeavesNothingOfAnAttempt) {
  node_.start_script("a", "(setsid sleep 1000 &); echo up; sleep 1000");
  node_.start_script("b", "mkdir -p deep/er; echo up; sleep 1000");
  ASSERT_TRUE(node_.wait_output("j.1/a", "up") && node_.wait_output("j.1/b", "up"));
  node_.must("attempt.clean", {{"attempt", "j.1"}});
  EXPECT_TRUE(node_.must("proc.list", {{"attempt", "j.1"}}).at("processes").empty());
  EXPECT_TRUE(std::filesystem::is_empty(node_.folder / "work/attempts"));
  EXPECT_TRUE(std::filesystem::is_empty(node_.folder / "run/spool"));
  for (const std::string& line : children_of_ours(node_))
    EXPECT_THAT(line, testing::HasSubstr("mvm-kernel")) << line;
  node_.must("attempt.clean", {{"attempt", "j.1"}});  // may be repeated
  node_.start_script("a", "echo again");              // and the name is free
  EXPECT_EQ(node_.wait_end("j.1/a").end->at("code"), 0);
}

TEST_F(ProcessTest, ExecRunsOutsideAnyAttempt) {
  node_.must("proc.start", {{"proc", "exec/7"}, {"kind", "exec"}, {"argv", {"uname", "-s"}}});
  EXPECT_EQ(node_.wait_end("exec/7").output.at("out"), "Linux\n");
  // Its input may be a whole frame.
  node_.must("proc.start", {{"proc", "exec/8"}, {"kind", "exec"}, {"argv", {"wc", "-c"}}});
  node_.must("proc.input", {{"proc", "exec/8"}, {"eof", true}}, std::string(1 << 20, 'x'));
  EXPECT_EQ(node_.wait_end("exec/8").output.at("out"), "1048576\n");
  while (!std::filesystem::is_empty(node_.folder / "run/spool")) std::this_thread::yield();
  EXPECT_TRUE(std::filesystem::is_empty(node_.folder / "work/attempts"));
}

}  // namespace
}  // namespace mvm::kernel
