// Real processes, killed with SIGKILL at random moments: their peers never hang and never see a torn message,
// and the books balance afterwards.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <random>

#include "mvm/base/clock.h"
#include "mvm/queuevm/queue.h"
#include "queuevm/content.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;
using Moment = std::chrono::steady_clock::time_point;

enum Exit : int { kGood = 0, kTorn = 10, kDisorder = 11, kError = 12, kStuck = 13 };

/// A child that does `work` and leaves with its result, without running our exit handlers.
pid_t start(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  return child;
}

/// Its wait status; nothing if it still runs at `deadline`.
std::optional<int> reap(pid_t child, Moment deadline) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  pollfd item{pidfd, POLLIN, 0};
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  const int ready = ::poll(&item, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
  ::close(pidfd);
  if (ready != 1) return std::nullopt;
  int status = 0;
  return ::waitpid(child, &status, 0) == child ? std::optional<int>(status) : std::nullopt;
}

int produce(const Queue& queue, std::uint32_t slot, std::size_t most) {
  auto producer = queue.producer(slot);
  if (!producer) return kError;
  std::mt19937 random(slot + 1);
  for (std::uint64_t number = 0;; ++number) {
    const std::size_t size = most > 80 ? test::some_size(random, most) : 16 + random() % 64;
    const auto message = test::make_message(slot, number, size);
    auto outcome =
        producer->put(std::as_bytes(std::span(message)), 10s, static_cast<std::uint32_t>(number % 3));
    if (!outcome) return kError;
    if (*outcome == Outcome::kWouldBlock) return kStuck;
    if (*outcome != Outcome::kDone) return kGood;  // nobody reads any more
  }
}

int consume(const Queue& queue, std::uint32_t slot, bool ordered) {
  auto consumer = queue.consumer(slot);
  if (!consumer) return kError;
  std::vector<std::int64_t> last(16, -1);
  int deaths = 0;
  for (;;) {
    MessageView view;
    auto outcome = consumer->take(view, 10s);
    if (!outcome) return kError;
    if (*outcome == Outcome::kWouldBlock) return kStuck;
    if (*outcome == Outcome::kEndOfStream) return kGood;
    if (*outcome == Outcome::kPeerDead) {  // told once for each that died; after the last one it stays so
      if (++deaths > 16) return kGood;
      continue;
    }
    deaths = 0;
    test::Stamp stamp;
    if (!test::check_message(view.data.data(), view.data.size(), stamp) || stamp.producer >= 16) return kTorn;
    if (ordered && !view.redelivered && static_cast<std::int64_t>(stamp.number) <= last[stamp.producer])
      return kDisorder;
    last[stamp.producer] = std::max(last[stamp.producer], static_cast<std::int64_t>(stamp.number));
    if (!consumer->release(view)) return kError;
  }
}

struct Shape {
  QueueKind kind;
  std::uint32_t producers;
  std::uint32_t consumers;
  WhenFull when_full;
};

/// One queue, its processes, one of them killed after a random while; the rest is told, or finds out itself.
void one_round(const Shape& shape, std::mt19937& random, bool tell, std::chrono::seconds patience) {
  QueueSpec spec;
  spec.kind = shape.kind;
  spec.producers = shape.producers;
  spec.consumers = shape.consumers;
  spec.when_full = shape.when_full;
  spec.capacity = 1 + random() % 32;
  const bool grows =
      random() % 2 == 0;  // messages so long that a stream's consumer copies while they are written
  spec.bytes = grows ? 262144 : 32768;
  Queue queue = Queue::create_in_memory(spec, "kill").value();
  const bool ordered = shape.kind == QueueKind::kFifo && shape.consumers == 1;
  std::vector<pid_t> children;
  for (std::uint32_t i = 0; i < shape.producers; ++i) {
    children.push_back(start([&] { return produce(queue, i, grows ? 120000 : 12000); }));
  }
  for (std::uint32_t i = 0; i < shape.consumers; ++i) {
    children.push_back(start([&] { return consume(queue, i, ordered); }));
  }
  const std::size_t victim = random() % children.size();
  const auto ends_of = [&](std::size_t child) {
    const auto index = static_cast<std::uint32_t>(child);
    return index < shape.producers ? End{Side::kProducer, index}
                                   : End{Side::kConsumer, index - shape.producers};
  };
  const auto attached = [&] {
    std::size_t count = 0;
    for (const Side side : {Side::kProducer, Side::kConsumer}) {
      for (const EndState state : queue.end_states(side)) count += state == EndState::kAttached ? 1U : 0U;
    }
    return count == children.size();
  };
  // Wait until all run (a condition, not a time), then a random while.
  const Moment begin = std::chrono::steady_clock::now();
  while (!attached() && std::chrono::steady_clock::now() - begin < 10s) ::usleep(100);
  ::usleep(static_cast<useconds_t>(random() % 2000));
  ASSERT_EQ(::kill(children[victim], SIGKILL), 0);
  const Moment deadline = std::chrono::steady_clock::now() + patience;
  ASSERT_TRUE(reap(children[victim], deadline));
  if (tell) {
    ASSERT_TRUE(queue.close_end(ends_of(victim), EndState::kDead));
  }
  if (shape.producers + shape.consumers > 2) {
    // The others are many: the survivors on the victim's side go on, so end the stream for them.
    for (std::size_t i = 0; i < shape.producers; ++i) {
      if (i == victim) continue;
      ASSERT_TRUE(queue.close_end(ends_of(i), EndState::kDone));
    }
  }
  for (std::size_t i = 0; i < children.size(); ++i) {
    if (i == victim) continue;
    const auto status = reap(children[i], deadline);
    if (!status) {
      ::kill(children[i], SIGKILL);
      ::waitpid(children[i], nullptr, 0);
      FAIL() << "process " << i << " hangs after process " << victim << " was killed";
    }
    ASSERT_TRUE(WIFEXITED(*status));
    ASSERT_EQ(WEXITSTATUS(*status), kGood) << "process " << i << ", killed " << victim;
  }
  const QueueStats stats = queue.stats();
  if (spec.producers + spec.consumers > 2 || spec.when_full == WhenFull::kDropOldest ||
      spec.kind != QueueKind::kFifo) {
    EXPECT_EQ(stats.enqueued, stats.dequeued + stats.dropped_oldest + stats.depth);
  }
}

TEST(Kill, PeersOfAKilledProcessEndAndReadNothingTorn) {
  const std::vector<Shape> shapes = {
      {QueueKind::kFifo, 1, 1, WhenFull::kBlock},      {QueueKind::kFifo, 3, 1, WhenFull::kBlock},
      {QueueKind::kFifo, 1, 3, WhenFull::kBlock},      {QueueKind::kFifo, 3, 3, WhenFull::kBlock},
      {QueueKind::kFifo, 2, 2, WhenFull::kDropOldest}, {QueueKind::kPriority, 2, 2, WhenFull::kBlock},
  };
  std::mt19937 random(static_cast<unsigned>(::getpid()));
  SCOPED_TRACE("seed " + std::to_string(::getpid()));
  const Moment end = std::chrono::steady_clock::now() + 15s;
  int rounds = 0;
  while (std::chrono::steady_clock::now() < end && rounds < 600 && !HasFatalFailure()) {
    one_round(shapes[static_cast<std::size_t>(rounds) % shapes.size()], random, true, 20s);
    ++rounds;
  }
  RecordProperty("rounds", rounds);
  std::printf("%d rounds\n", rounds);
}

TEST(Kill, WhereNobodyTellsThePeersFindOutThemselvesWithinASecond) {
  std::mt19937 random(2);
  for (const Shape& shape :
       {Shape{QueueKind::kFifo, 1, 1, WhenFull::kBlock}, Shape{QueueKind::kFifo, 1, 2, WhenFull::kBlock},
        Shape{QueueKind::kPriority, 1, 1, WhenFull::kBlock}}) {
    for (int i = 0; i < 2; ++i) {
      const Moment begin = std::chrono::steady_clock::now();
      one_round(shape, random, false, 20s);
      EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
    }
  }
}

TEST(Kill, ALockWhoseHolderWasKilledIsTakenOver) {
  // Many ends on one small queue: some kill hits inside the lock; the survivors must go on exchanging
  // messages.
  QueueSpec spec;
  spec.producers = 3;
  spec.consumers = 3;
  spec.capacity = 4;
  spec.bytes = 8192;
  spec.ttl = 1h;  // so that it has a lock
  std::mt19937 random(9);
  for (int round = 0; round < 15; ++round) {
    Queue queue = Queue::create_in_memory(spec, "lock").value();
    std::vector<pid_t> producers;
    std::vector<pid_t> consumers;
    for (std::uint32_t i = 0; i < 3; ++i) producers.push_back(start([&] { return produce(queue, i, 80); }));
    for (std::uint32_t i = 0; i < 3; ++i) consumers.push_back(start([&] { return consume(queue, i, 80); }));
    ::usleep(static_cast<useconds_t>(3000 + random() % 3000));
    for (std::uint32_t i = 0; i < 2; ++i) {
      ::kill(producers[i], SIGKILL);
      ::kill(consumers[i], SIGKILL);
      ::waitpid(producers[i], nullptr, 0);
      ::waitpid(consumers[i], nullptr, 0);
      ASSERT_TRUE(queue.close_end({Side::kProducer, i}, EndState::kDead));
      ASSERT_TRUE(queue.close_end({Side::kConsumer, i}, EndState::kDead));
    }
    const std::uint64_t before = queue.stats().dequeued;
    const Moment deadline = std::chrono::steady_clock::now() + 10s;
    while (queue.stats().dequeued < before + 100 && std::chrono::steady_clock::now() < deadline)
      ::usleep(200);
    EXPECT_GE(queue.stats().dequeued, before + 100) << "the survivors are stuck";
    ASSERT_TRUE(queue.close_end({Side::kProducer, 2}, EndState::kDone));
    const auto status = reap(consumers[2], deadline + 10s);
    ASSERT_TRUE(status);
    EXPECT_EQ(WEXITSTATUS(*status), kGood);
    ASSERT_TRUE(reap(producers[2], deadline + 10s));
  }
}

}  // namespace
}  // namespace mvm::queuevm
