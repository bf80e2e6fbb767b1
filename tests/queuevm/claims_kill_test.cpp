// Claim queues under kill -9: processes die at random moments and others take their turn, for as long as
// MVM_KILLS says. Every message is told from every other: none is torn, doubled or out of its producer's
// order, and none is lost but for the one that a killed consumer may have had in its hands.
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <random>

#include "queuevm/content.h"
#include "queuevm/ends.h"

namespace mvm::queuevm {
namespace {

enum Exit : int { kGood = 0, kTorn = 10, kDisorder = 11, kError = 12, kStuck = 13, kTwice = 14 };
constexpr std::int64_t kPatience = 20'000'000'000;
constexpr std::uint32_t kProducers = 24;  // one after the other, each slot used once
constexpr std::uint32_t kConsumers = 24;
constexpr std::uint32_t kMostMessages = 1U << 20;

/// What the processes know of each other, in memory that survives them.
struct Board {
  std::atomic<bool> stop;
  std::atomic<std::uint32_t> put[kProducers];  // that many returned
  std::atomic<std::uint8_t> seen[kProducers][kMostMessages];
};

Board* make_board() {
  void* memory = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Board*>(memory);
}

int produce(const Queue& queue, std::uint32_t slot, Board& board, std::size_t most) {
  ring::End end = test::attach(queue, ring::Side::kProducer, slot);
  ring::Spin spin;
  std::mt19937 random(slot + 1);
  for (std::uint32_t number = 0; number < kMostMessages && !board.stop.load(); ++number) {
    const std::size_t size = most > 80 ? test::some_size(random, most) : 16 + random() % 64;
    const auto message = test::make_message(slot, number, size);
    std::int64_t result = MVM_OK;
    if (random() % 4 == 0) {
      std::byte* room = nullptr;
      result =
          ring::until_done(end, [&] { return end.reserve(size + random() % 8, &room); }, kPatience, spin, {});
      if (result == MVM_OK && random() % 16 == 0) {
        if (end.cancel() != MVM_OK) return kError;
        --number;
        continue;
      }
      if (result == MVM_OK) {
        std::memcpy(room, message.data(), size);
        result = end.commit(size, 0, number);
      }
    } else if (!end.claims_quick_put(message.data(), size)) {
      result = ring::until_done(end, [&] { return end.put(message.data(), size, 0, number % 3); }, kPatience,
                                spin, {});
    }
    if (result == MVM_EOS || result == MVM_PEERDEAD) return kGood;
    if (result != MVM_OK) return result == -2 ? kStuck : kError;
    board.put[slot].store(number + 1);
  }
  while (!board.stop.load()) ::usleep(100);  // it has put all that it may
  end.close(ring::kDone);
  return kGood;
}

int consume(const Queue& queue, std::uint32_t slot, Board& board) {
  ring::End end = test::attach(queue, ring::Side::kConsumer, slot);
  ring::Spin spin;
  std::mt19937 random(slot + 100);
  std::vector<std::int64_t> last(kProducers, -1);
  std::vector<unsigned char> buffer(65536);
  std::vector<ring::View> held;
  const auto check = [&](const void* data, const ring::View& view) -> int {
    test::Stamp stamp;
    if (!test::check_message(data, view.size, stamp) || stamp.producer >= kProducers ||
        stamp.number >= kMostMessages) {
      return kTorn;
    }
    auto& before = last[stamp.producer];
    if (!view.redelivered && static_cast<std::int64_t>(stamp.number) <= before) return kDisorder;
    before = std::max(before, static_cast<std::int64_t>(stamp.number));
    return kGood;
  };
  const auto count = [&](const void* data) {
    test::Stamp stamp;
    std::memcpy(&stamp, data, sizeof stamp);
    return board.seen[stamp.producer][stamp.number].fetch_add(1) == 0 ? kGood : kTwice;
  };
  const auto let_go = [&](std::size_t keep) -> int {
    while (held.size() > keep) {
      std::memcpy(buffer.data(), held.front().data, held.front().size);
      if (end.release(held.front().token) != MVM_OK) return kError;
      held.erase(held.begin());
      if (const int twice = count(buffer.data()); twice != kGood) return twice;
    }
    return kGood;
  };
  for (;;) {
    ring::View view;
    std::int64_t result = kGood;
    const bool copies = random() % 2 == 0;
    if (copies) {
      std::int64_t size = end.claims_quick_get(buffer.data(), buffer.size());
      if (size >= 0) {
        view.size = static_cast<std::uint64_t>(size);
      } else {
        result = ring::until_done(end, [&] { return end.get(buffer.data(), buffer.size(), view); },
                                  held.empty() ? kPatience : 0, spin, {});
      }
    } else {
      result = ring::until_done(end, [&] { return end.take(view); }, held.empty() ? kPatience : 0, spin, {});
    }
    if (result == MVM_EOS) return let_go(0);
    if (result == MVM_PEERDEAD) {
      if (end.finished()) return let_go(0);
      continue;
    }
    if (result == -2 && !held.empty()) {
      if (const int bad = let_go(0); bad != kGood) return bad;
      continue;
    }
    if (result != MVM_OK) return result == -2 ? kStuck : kError;
    if (const int bad = check(copies ? buffer.data() : static_cast<const void*>(view.data), view);
        bad != kGood)
      return bad;
    if (copies) {
      if (const int twice = count(buffer.data()); twice != kGood) return twice;
    } else {
      held.push_back(view);
    }
    if (const int bad = let_go(random() % 4); bad != kGood) return bad;
  }
}

struct Child {
  pid_t pid;
  End end;
};

/// A process at the end, which leaves with the work's result and runs none of our exit handlers.
Child start(const Queue& queue, End end, Board& board, std::size_t most) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::_exit(end.side == Side::kProducer ? produce(queue, end.slot, board, most)
                                        : consume(queue, end.slot, board));
  }
  return {pid, end};
}

/// Its wait status; nothing if it still runs after the patience.
std::optional<int> reap(pid_t child) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  pollfd item{pidfd, POLLIN, 0};
  const int ready = ::poll(&item, 1, static_cast<int>(kPatience / 1'000'000 * 2));
  ::close(pidfd);
  int status = 0;
  if (ready != 1) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return std::nullopt;
  }
  return ::waitpid(child, &status, 0) == child ? std::optional<int>(status) : std::nullopt;
}

/// One queue whose ends are used up, by `producers` and `consumers` at a time. Returns how many were killed.
int one_queue(std::uint32_t producers, std::uint32_t consumers, bool one_producer, std::mt19937& random) {
  QueueSpec spec;
  spec.producers = one_producer ? 1 : kProducers;
  spec.consumers = kConsumers;
  spec.capacity = 1 + random() % 40;
  spec.bytes = random() % 2 == 0 ? 8192 : 131072;
  const std::size_t most = random() % 2 == 0 ? 64 : spec.bytes / 2 - 16;
  Queue queue = Queue::create_in_memory(spec, "kill").value();
  Board* board = make_board();
  EXPECT_NE(board, nullptr);
  std::vector<Child> children;
  std::uint32_t next_producer = 0;
  std::uint32_t next_consumer = 0;
  const auto begin = [&](Side side) {
    std::uint32_t& slot = side == Side::kProducer ? next_producer : next_consumer;
    children.push_back(start(queue, {side, slot++}, *board, most));
  };
  for (std::uint32_t i = 0; i < (one_producer ? 1 : producers); ++i) begin(Side::kProducer);
  for (std::uint32_t i = 0; i < consumers; ++i) begin(Side::kConsumer);
  int killed = 0;
  int killed_consumers = 0;
  while (next_consumer < kConsumers && (one_producer || next_producer < kProducers)) {
    ::usleep(static_cast<useconds_t>(random() % 1500));
    const std::size_t victim = random() % children.size();
    const Child child = children[victim];
    if (one_producer && child.end.side == Side::kProducer) continue;
    ::kill(child.pid, SIGKILL);
    int status = 0;
    ::waitpid(child.pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it ended with " << WEXITSTATUS(status);
    children.erase(children.begin() + static_cast<std::ptrdiff_t>(victim));
    EXPECT_TRUE(queue.close_end(child.end, EndState::kDead));
    ++killed;
    killed_consumers += child.end.side == Side::kConsumer ? 1 : 0;
    begin(child.end.side);
    if (::testing::Test::HasFailure()) break;
  }
  board->stop.store(true);
  for (std::uint32_t slot = next_producer; slot < spec.producers; ++slot)
    EXPECT_TRUE(queue.close_end({Side::kProducer, slot}, EndState::kDone));
  for (const Child& child : children) {
    const auto status = reap(child.pid);
    EXPECT_TRUE(status) << (child.end.side == Side::kProducer ? "a producer" : "a consumer") << " hangs";
    if (status) {
      EXPECT_TRUE(WIFEXITED(*status) && WEXITSTATUS(*status) == kGood)
          << (child.end.side == Side::kProducer ? "a producer" : "a consumer") << " ended with "
          << WEXITSTATUS(*status);
    }
    EXPECT_TRUE(queue.close_end(child.end, EndState::kDone));
  }
  // A killed process may have put one more than it noted, and a killed consumer have taken one that it did
  // not.
  int lost = 0;
  std::uint64_t noted = 0;
  for (std::uint32_t slot = 0; slot < next_producer; ++slot) {
    const std::uint32_t put = board->put[slot].load();
    noted += put;
    for (std::uint32_t number = 0; number < put; ++number) {
      const int seen = board->seen[slot][number].load();
      lost += seen == 0 ? 1 : 0;
      EXPECT_LE(seen, 1);
    }
  }
  EXPECT_LE(lost, killed_consumers);
  const QueueStats stats = queue.stats();
  EXPECT_EQ(stats.depth, 0U);
  EXPECT_EQ(stats.bytes, 0U);
  EXPECT_EQ(stats.enqueued, stats.dequeued);
  EXPECT_GE(stats.enqueued, noted);
  EXPECT_LE(stats.enqueued, noted + static_cast<std::uint64_t>(killed));
  ::munmap(board, sizeof(Board));
  return killed;
}

TEST(ClaimsKill, NothingIsTornDoubledReorderedOrLostButWhatADeadConsumerHadTaken) {
  const char* asked = std::getenv("MVM_KILLS");  // NOLINT(concurrency-mt-unsafe): no other thread
  const int kills = asked == nullptr ? 3000 : std::atoi(asked);  // NOLINT(cert-err34-c): a test's own setting
  const auto seed = static_cast<unsigned>(::getpid());
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto end = std::chrono::steady_clock::now() +
                   (asked == nullptr ? std::chrono::seconds(12) : std::chrono::seconds(3000));
  int killed = 0;
  for (int round = 0; killed < kills && std::chrono::steady_clock::now() < end && !HasFailure(); ++round) {
    killed += one_queue(static_cast<std::uint32_t>(1 + random() % 3),
                        static_cast<std::uint32_t>(1 + random() % 3), round % 3 == 0, random);
  }
  RecordProperty("killed", killed);
  std::printf("%d processes killed\n", killed);
}

}  // namespace
}  // namespace mvm::queuevm
