// Streams over message queues, an end here and an end there.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <set>
#include <thread>

#include "mvm/base/digest.h"
#include "mvm/queuevm/mq/mq_streams.h"

namespace mvm::queuevm::mq {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

using Make = Result<StreamFactory> (*)(const std::string&);

struct Kind {
  const char* name;
  Make make;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

std::pair<UniqueFd, UniqueFd> sockets() {
  std::array<int, 2> pair{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

std::string prefix_of(const std::string& secret) {
  return "mvm-" + sha256_hex("MVM message queues 1 " + secret).substr(0, 32);
}

/// What the lab with this secret has in /dev/shm, and whether its POSIX queue has a name.
std::set<std::string> names(const std::string& secret) {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm"))
    if (entry.path().filename().string().starts_with(prefix_of(secret)))
      found.insert(entry.path().filename());
  if (const UniqueFd queue(::mq_open(("/" + prefix_of(secret)).c_str(), O_RDONLY)); queue)
    found.insert("posix");
  return found;
}

bool readable(const ByteStream& stream, int milliseconds) {
  pollfd item{stream.fd(), POLLIN, 0};
  return ::poll(&item, 1, milliseconds) == 1;
}

/// Byte number `i` of the stream that the tests send.
std::byte nth(std::size_t i) { return static_cast<std::byte>((i * 2654435761U) >> 13U); }

std::vector<std::byte> piece(std::size_t from, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = nth(from + i);
  return bytes;
}

class MqTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    auto made = GetParam().make(secret_);
    ASSERT_TRUE(made) << made.error().message();
    streams_ = *made;
  }
  void TearDown() override {
    sweep(secret_);
    EXPECT_TRUE(names(secret_).empty());
  }
  /// Two ends that know each other.
  std::pair<std::unique_ptr<ByteStream>, std::unique_ptr<ByteStream>> join() {
    auto [left, right] = sockets();
    auto dialled = streams_(std::move(left), true);
    auto accepted = streams_(std::move(right), false);
    EXPECT_FALSE(accepted->ready());
    EXPECT_EQ(dialled->write({}).value(), 0U);
    EXPECT_TRUE(readable(*accepted, 5000));
    EXPECT_EQ(accepted->write({}).value(), 0U);
    EXPECT_TRUE(dialled->ready() && accepted->ready());
    return {std::move(dialled), std::move(accepted)};
  }
  const std::string secret_ = random_hex(16);
  StreamFactory streams_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, MqTest,
                         ::testing::Values(Kind{"posix", &make_posix_streams},
                                           Kind{"boost", &make_boost_streams}),
                         [](const auto& one) { return one.param.name; });

/// Moves `total` bytes with writes and reads of random sizes; each side waits for its descriptor alone.
void move(ByteStream& from, ByteStream& to, std::size_t total) {
  std::thread writer([&] {
    std::mt19937 random(1);
    std::size_t put = 0;
    while (put < total) {
      const auto bytes = piece(put, std::min<std::size_t>(total - put, 1 + random() % 200000));
      std::size_t done = 0;
      while (done < bytes.size()) {
        const std::size_t now = from.write(std::span(bytes).subspan(done)).value();
        done += now;
        if (now > 0) continue;
        ASSERT_TRUE(readable(from, 20000)) << "nobody said that there is room";
        std::array<std::byte, 1> none{};
        ASSERT_EQ(from.read(none).value(), 0U);
      }
      put += bytes.size();
    }
  });
  std::mt19937 random(2);
  std::size_t got = 0;
  while (got < total) {
    std::vector<std::byte> room(random() % 3 == 0 ? 1 + random() % 5000 : 1 + random() % 100000);
    const std::size_t now = to.read(room).value();
    if (now == 0 && !readable(to, 20000)) break;
    for (std::size_t i = 0; i < now; ++i) {
      if (room[i] == nth(got + i)) continue;
      ADD_FAILURE() << "byte " << got + i;
      got = total;
      break;
    }
    got += now;
  }
  EXPECT_EQ(got, total);
  writer.join();
}

TEST_P(MqTest, BytesPassBothWays) {
  const auto [a, b] = join();
  move(*a, *b, 20 << 20);
  move(*b, *a, 20 << 20);
}

TEST_P(MqTest, NobodySeesNamesOnceTheEndsKnowEachOther) {
  const auto [a, b] = join();
  std::array<std::byte, 1> none{};
  EXPECT_EQ(a->read(none).value(), 0U);
  EXPECT_TRUE(names(secret_).empty());
}

TEST_P(MqTest, AnIdleStreamWakesNobody) {
  const auto [a, b] = join();
  std::array<std::byte, 100> room{};
  EXPECT_EQ(a->read(room).value(), 0U);
  EXPECT_EQ(b->read(room).value(), 0U);
  EXPECT_FALSE(readable(*a, 0));
  EXPECT_FALSE(readable(*b, 0));
  const auto bytes = piece(0, 10 << 20);
  const std::size_t put = a->write(bytes).value();
  EXPECT_GT(put, 0U);
  EXPECT_LT(put, bytes.size()) << "a queue is bounded";
  EXPECT_EQ(a->write(bytes).value(), 0U);
  EXPECT_FALSE(readable(*a, 0)) << "a writer that waits for room sleeps";
  EXPECT_TRUE(readable(*b, 0));
}

TEST_P(MqTest, WhatWasSentBeforeTheEndArrives) {
  auto [a, b] = join();
  const auto words = piece(0, 100);
  ASSERT_EQ(a->write(words).value(), words.size());
  a.reset();
  std::vector<std::byte> got(60);
  ASSERT_EQ(b->read(got).value(), 60U);
  ASSERT_EQ(b->read(got).value(), 40U);
  EXPECT_TRUE(readable(*b, 0));
  EXPECT_EQ(b->read(got).error().code(), ErrorCode::kUnavailable);
}

TEST_P(MqTest, WhoNeverAnswersLeavesNothing) {
  auto [left, right] = sockets();
  {
    const auto dialled = streams_(std::move(left), true);
    EXPECT_EQ(dialled->write({}).value(), 0U);
  }
  EXPECT_TRUE(names(secret_).empty());
  const auto accepted = streams_(std::move(right), false);
  static_cast<void>(
      accepted->write({}));  // with POSIX the descriptors have come, with Boost there is no name
  std::array<std::byte, 1> none{};
  EXPECT_EQ(accepted->read(none).error().code() == ErrorCode::kUnavailable ||
                accepted->read(none).error().code() == ErrorCode::kIo ||
                accepted->read(none).error().code() == ErrorCode::kNotFound,
            true);
}

TEST_P(MqTest, GarbageIsRefused) {
  std::mt19937 random(4);
  for (int i = 0; i < 200; ++i) {
    auto [left, right] = sockets();
    std::string words =
        (i % 2 == 0 ? "MVMPMQ1\n" : "MVMBMQ1\n") + prefix_of(i % 4 < 2 ? secret_ : "other") + "-";
    while (words.size() < 61) words += "0123456789abcdef/.\0"[random() % (i % 3 == 0 ? 19 : 16)];
    words.resize(random() % 2 == 0 ? 61 : random() % 61);
    if (!words.empty()) {
      ASSERT_GT(::send(left.get(), words.data(), words.size(), 0), 0);
    }
    if (words.empty()) left.reset();
    const auto accepted = streams_(std::move(right), false);
    EXPECT_FALSE(accepted->write({})) << words;
    EXPECT_FALSE(accepted->ready());
  }
}

/// Runs `work` in another process until it is killed after a random moment.
void run_and_kill(std::mt19937& random, const std::function<void()>& work,
                  const std::function<void()>& meanwhile) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (;;) work();
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(500 + random() % 20000);
  while (std::chrono::steady_clock::now() < until) meanwhile();
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_P(MqTest, APeerKilledAtAnyInstructionIsAnEndAndNeverAWait) {
  std::mt19937 random(5);
  int undisturbed = 0;
  for (int round = 0; round < 40; ++round) {
    auto ends = join();
    const auto& a = ends.first;
    auto& b = ends.second;
    const auto bytes = piece(0, 300000);
    std::vector<std::byte> room(100000);
    const auto work = [&room, &bytes](ByteStream& stream) {
      const bool put = stream.write(bytes).has_value();
      return stream.read(room).has_value() && put;
    };
    bool well = true;
    run_and_kill(
        random, [&] { static_cast<void>(work(*b)); }, [&] { well = work(*a) && well; });
    undisturbed += well ? 1 : 0;
    b.reset();
    const auto began = std::chrono::steady_clock::now();
    while (work(*a) && std::chrono::steady_clock::now() < began + 20s) std::this_thread::yield();
    EXPECT_LT(std::chrono::steady_clock::now() - began, 15s);
  }
  EXPECT_GT(undisturbed, 20) << "who only waits for a processor may look dead for once";
}

TEST_P(MqTest, WhoIsKilledWhileTheEndsMeetLeavesNothingThatASweepDoesNotFind) {
  std::mt19937 random(6);
  for (int round = 0; round < 40; ++round) {
    run_and_kill(
        random,
        [&] {
          auto [left, right] = sockets();
          const auto dialled = streams_(std::move(left), true);
          static_cast<void>(dialled->write({}));
        },
        [] {});
    sweep(secret_);
    EXPECT_TRUE(names(secret_).empty());
  }
}

TEST_P(MqTest, AnotherUsersProcessIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  // The socket tells who made it; so a stranger's is made by a stranger.
  std::array<int, 2> channel{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
    auto [mine, yours] = sockets();
    const auto dialled = streams_(std::move(mine), true);
    if (!dialled->write({})) ::_exit(2);
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    const int given = yours.get();
    std::memcpy(CMSG_DATA(head), &given, sizeof given);
    if (::sendmsg(channel[1], &message, 0) != 1) ::_exit(3);
    if (::read(channel[1], &byte, 1) != 1) ::_exit(4);
    ::_exit(0);
  }
  ::close(channel[1]);
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ASSERT_EQ(::recvmsg(channel[0], &message, MSG_CMSG_CLOEXEC), 1);
  int theirs = -1;
  std::memcpy(&theirs, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof theirs);
  const auto stranger = streams_(UniqueFd(theirs), false);
  EXPECT_EQ(stranger->write({}).error().code(), ErrorCode::kRefused);
  ASSERT_EQ(::write(channel[0], "x", 1), 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ::close(channel[0]);
}

/// Sends a greeting with these descriptors.
void greet(int socket, const std::array<int, 2>& descriptors) {
  std::string words = "MVMPMQ1\n";
  iovec part{words.data(), words.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(2 * sizeof(int));
  std::memcpy(CMSG_DATA(head), descriptors.data(), 2 * sizeof(int));
  ASSERT_EQ(::sendmsg(socket, &message, 0), static_cast<ssize_t>(words.size()));
}

TEST(PosixMq, DescriptorsOfOtherThingsAreRefused) {
  const auto streams = make_posix_streams("hostile").value();
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  auto [left, right] = sockets();
  greet(left.get(), pipe);
  const auto accepted = streams(std::move(right), false);
  EXPECT_EQ(accepted->write({}).error().code(), ErrorCode::kRefused);
  for (const int fd : pipe) ::close(fd);
}

TEST(PosixMq, AQueueThatWouldBlockDoesNot) {
  const auto streams = make_posix_streams("hostile").value();
  const std::string name = "/mvm-mq-test-" + random_hex(8);
  mq_attr shape{};
  shape.mq_maxmsg = 1;
  shape.mq_msgsize = 100;
  const UniqueFd there(::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &shape));
  ::mq_unlink(name.c_str());
  const UniqueFd back(::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &shape));
  ::mq_unlink(name.c_str());
  ASSERT_TRUE(there && back);
  auto [left, right] = sockets();
  greet(left.get(), {there.get(), back.get()});
  const auto accepted = streams(std::move(right), false);
  EXPECT_EQ(accepted->write(piece(0, 250)).value(), 100U);
  std::vector<std::byte> room(10);
  EXPECT_EQ(accepted->read(room).value(), 0U);
  ASSERT_EQ(::mq_send(there.get(), "", 0, 0), 0);
  EXPECT_EQ(accepted->read(room).error().code(), ErrorCode::kCorrupt) << "an empty message carries nothing";
}

TEST(PosixMq, WithoutLeaveToMakeQueuesItSaysSo) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_MSGQUEUE, &before), 0);
  const rlimit little{100000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_MSGQUEUE, &little), 0);
  const auto made = make_posix_streams("limits");
  ASSERT_EQ(::setrlimit(RLIMIT_MSGQUEUE, &before), 0);
  ASSERT_FALSE(made) << "one queue fits, two do not";
  EXPECT_EQ(made.error().code(), ErrorCode::kExhausted);
  EXPECT_THAT(made.error().message(), HasSubstr("RLIMIT_MSGQUEUE"));
  EXPECT_TRUE(names("limits").empty());
}

TEST(BoostMq, OfSomebodyElsesNamesNothingIsSwept) {
  const std::string secret = random_hex(16);
  const std::string theirs = "/dev/shm/mvm-mq-test-" + random_hex(8);
  const std::string left_over = "/dev/shm/" + prefix_of(secret) + "-0123456789abcdef-there";
  for (const auto& path : {theirs, left_over}) {
    const UniqueFd made(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
    ASSERT_TRUE(made);
  }
  sweep(secret);
  EXPECT_TRUE(std::filesystem::exists(theirs));
  EXPECT_FALSE(std::filesystem::exists(left_over));
  std::filesystem::remove(theirs);
}

}  // namespace
}  // namespace mvm::queuevm::mq
