#include "mvm/base/subprocess.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>

namespace mvm {
namespace {

using std::chrono::milliseconds;

TEST(SubprocessTest, CapturesBothStreamsAndTheExitCode) {
  auto ran = run_captured({.argv = {"sh", "-c", "echo out; echo err >&2; exit 7"}}, milliseconds(5000));
  ASSERT_TRUE(ran) << ran.error().describe();
  EXPECT_EQ(ran->output, "out\n");
  EXPECT_EQ(ran->errors, "err\n");
  EXPECT_EQ(ran->status.code, 7);
}

TEST(SubprocessTest, AMissingProgramIsAnErrorNotAnExitCode) {
  EXPECT_EQ(Subprocess::spawn({.argv = {"no-such-program-here"}}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(Subprocess::spawn({.argv = {"/no/such/program"}}).error().code(), ErrorCode::kNotFound);
}

TEST(SubprocessTest, IsKilledAtItsDeadline) {
  EXPECT_EQ(run_captured({.argv = {"sleep", "60"}}, milliseconds(50)).error().code(), ErrorCode::kTimeout);
}

TEST(SubprocessTest, ASignalIsReportedAs128PlusItsNumber) {
  auto child = Subprocess::spawn({.argv = {"sleep", "60"}});
  ASSERT_TRUE(child);
  EXPECT_FALSE(child->wait_for(milliseconds(1)));
  const ExitStatus status = child->stop(milliseconds(5000));
  EXPECT_EQ(status.signal, SIGTERM);
  EXPECT_EQ(status.code, 128 + SIGTERM);
}

TEST(SubprocessTest, NothingIsLeftWhenTheObjectDies) {
  pid_t pid = 0;
  {
    auto child = Subprocess::spawn({.argv = {"sleep", "60"}});
    ASSERT_TRUE(child);
    pid = child->pid();
    ASSERT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(SubprocessTest, GetsNoDescriptorThatItWasNotGiven) {
  const UniqueFd low(::open("/dev/null", O_RDONLY));  // as libraries open theirs: without O_CLOEXEC
  const UniqueFd high(::fcntl(low.get(), F_DUPFD, 200));
  const UniqueFd given(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(high && given);
  auto ran = run_captured({.argv = {"ls", "-l", "/proc/self/fd"}, .descriptors = {{given.get(), 9}}},
                          milliseconds(5000));
  ASSERT_TRUE(ran) << ran.error().describe();
  using ::testing::HasSubstr;
  using ::testing::Not;
  EXPECT_THAT(ran->output, HasSubstr(" 9 -> /dev/zero"));
  EXPECT_THAT(ran->output, Not(HasSubstr(" " + std::to_string(low.get()) + " -> /dev/null")));
  EXPECT_THAT(ran->output, Not(HasSubstr(" " + std::to_string(high.get()) + " -> ")));
}

TEST(SubprocessTest, PassesDescriptorsAndEnvironment) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  auto ran = run_captured({.argv = {"sh", "-c", "echo $GREETING >&9"},
                           .environment = {{"GREETING", "hi"}},
                           .descriptors = {{writer.get(), 9}}},
                          milliseconds(5000));
  ASSERT_TRUE(ran);
  char text[8] = {};
  EXPECT_EQ(::read(reader.get(), text, sizeof text), 3);
  EXPECT_STREQ(text, "hi\n");
}

}  // namespace
}  // namespace mvm
