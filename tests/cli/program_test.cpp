// The program itself: what main wires, signals, terminals, pipes.

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <csignal>

#include "cli/wire_fixture.h"
#include "mvm/base/subprocess.h"

namespace mvm::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::chrono::seconds kLong{60};

class Program : public Wire {
 public:
  SpawnOptions options(std::vector<std::string> args) {
    args.insert(args.begin(), std::string(MVM_BINARY_DIR) + "/bin/mvm");
    return {.argv = std::move(args),
            .environment = {{"MVM_BROKER", server->url()},
                            {"MVM_TOKEN_FILE", (folder / "token").string()},
                            {"TMPDIR", folder.string()},
                            {"TERM", "xterm"},
                            {"PATH", "/usr/bin:/bin"}},
            .inherit_environment = false};
  }
  Captured run_program(const std::vector<std::string>& args) {
    auto captured = run_captured(options(args), kLong);
    EXPECT_TRUE(captured) << captured.error().describe();
    return captured ? *captured : Captured{};
  }
  /// Reads until the text appears or the stream ends; all that was read.
  static std::string read_until(int fd, const std::string& wanted) {
    std::string text;
    char piece[4096];
    while (wanted.empty() || text.find(wanted) == std::string::npos) {
      pollfd ready{fd, POLLIN, 0};
      if (poll(&ready, 1, 60'000) <= 0) break;
      const ssize_t got = ::read(fd, piece, sizeof piece);
      if (got <= 0) break;
      text.append(piece, static_cast<std::size_t>(got));
    }
    return text;
  }
};

TEST_F(Program, AnswersFromTheBroker) {
  const Captured ran = run_program({"whoami", "-o", "jsonl"});
  EXPECT_EQ(ran.status.code, kDone) << ran.errors;
  EXPECT_THAT(ran.output, StartsWith("{\"schema\":\"mvm.whoami/1\",\"user\":\"ada\""));
}

TEST_F(Program, DoctorLooksAtTheMachine) {
  const Captured ran = run_program({"doctor", "--quick", "-o", "jsonl", "--state", folder.string()});
  EXPECT_THAT(ran.output, HasSubstr("\"name\":\"shared-memory\""));
  EXPECT_THAT(ran.output, HasSubstr("\"name\":\"broker\",\"state\":\"ok\""));
}

TEST_F(Program, SubmitsAndLeavesNothingInTheTemporaryFolder) {
  const std::string file = write_job();
  const Captured ran = run_program({"submit", file, "--parsable"});
  EXPECT_EQ(ran.status.code, kDone) << ran.errors;
  EXPECT_EQ(ran.output, "1\n");
  EXPECT_EQ(ran.errors, "");
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    EXPECT_THAT(entry.path().filename().string(), Not(StartsWith("mvm-pack-")));
  }
}

TEST_F(Program, ProgressAndColoursOnATerminal) {
  const std::string file = write_job();
  int master = -1, slave = -1;
  ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  const UniqueFd terminal(master);
  UniqueFd end(slave);
  SpawnOptions start = options({"submit", file, "--wait"});
  start.standard_output = end.get();
  start.standard_error = end.get();
  auto child = Subprocess::spawn(start);
  ASSERT_TRUE(child) << child.error().describe();
  end.reset();
  std::string seen = read_until(terminal.get(), "job 1  SUBMITTED");
  broker.set_state("1", "RUNNING");
  broker.add_log("1", {"cell[0]", "node-0", "out", 0, "\x1b]0;title\x07hot\n"});
  seen += read_until(terminal.get(), "hot");
  broker.set_state("1", "DONE");
  seen += read_until(terminal.get(), "");
  EXPECT_EQ(child->wait().code, kDone);
  EXPECT_THAT(seen, HasSubstr("\r\x1b[Kjob 1  SUBMITTED"));
  EXPECT_THAT(seen, HasSubstr("cell[0]| ?]0;title?hot"));
  EXPECT_THAT(seen, HasSubstr("job 1 done in"));
}

TEST_F(Program, CtrlCAsksAndTheSecondCancels) {
  const std::string file = write_job();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  SpawnOptions start = options({"submit", file, "--wait"});
  start.standard_error = writing.get();
  auto child = Subprocess::spawn(start);
  ASSERT_TRUE(child) << child.error().describe();
  writing.reset();
  read_until(reading.get(), "job 1 submitted");
  while (broker.waiting() == 0) std::this_thread::yield();  // it follows: the handler is armed
  child->signal(SIGINT);
  read_until(reading.get(), "Ctrl-C again within 3 s");
  child->signal(SIGINT);
  EXPECT_THAT(read_until(reading.get(), ""), HasSubstr("job 1 cancelled"));
  EXPECT_EQ(child->wait().code, kOperationFailed);
  EXPECT_EQ(broker.job({}, "1")->job.state, "CANCELLED");
}

TEST_F(Program, AClosedPipeIsAFailureNotADeath) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd writing(ends[1]);
  close(ends[0]);
  SpawnOptions start = options({"completion", "bash"});
  start.standard_output = writing.get();
  auto child = Subprocess::spawn(start);
  ASSERT_TRUE(child);
  const ExitStatus status = child->wait();
  EXPECT_EQ(status.code, kOperationFailed);
  EXPECT_EQ(status.signal, 0);
}

}  // namespace
}  // namespace mvm::cli
