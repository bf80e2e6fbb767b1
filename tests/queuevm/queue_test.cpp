#include "mvm/queuevm/queue.h"

#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <map>
#include <random>
#include <thread>

#include "mvm/base/file.h"
#include "queuevm/content.h"
#include "ring/region.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}
std::string text_of(const MessageView& message) {
  return {reinterpret_cast<const char*>(message.data.data()), message.data.size()};
}

Outcome put(Producer& producer, std::string_view text, std::uint32_t priority = 0) {
  return producer.try_put(bytes_of(text), priority).value();
}

/// The next message's text, or the outcome in angle brackets.
std::string get(Consumer& consumer) {
  MessageView message;
  const Outcome outcome = consumer.try_take(message).value();
  switch (outcome) {
    case Outcome::kDone:
      break;
    case Outcome::kWouldBlock:
      return "<empty>";
    case Outcome::kEndOfStream:
      return "<end>";
    case Outcome::kPeerDead:
      return "<dead>";
    default:
      return "<?>";
  }
  std::string text = text_of(message);
  EXPECT_TRUE(consumer.release(message));
  return text;
}

Queue make(QueueSpec spec) { return Queue::create_in_memory(spec, "test").value(); }

/// The forms a queue can have; a fifo is the same in each.
struct Form {
  const char* name;
  std::uint32_t producers;
  std::uint32_t consumers;
  bool cells;
};

class EveryFifo : public ::testing::TestWithParam<Form> {
 protected:
  static QueueSpec spec() {
    QueueSpec spec;
    spec.producers = GetParam().producers;
    spec.consumers = GetParam().consumers;
    if (GetParam().cells) spec.ttl = 1h;
    return spec;
  }
  /// With one producer that matters: the others have come and gone.
  static Queue make(const QueueSpec& spec) {
    Queue queue = Queue::create_in_memory(spec, "test").value();
    for (std::uint32_t i = 1; i < spec.producers; ++i)
      EXPECT_TRUE(queue.close_end({Side::kProducer, i}, EndState::kDone));
    return queue;
  }
  static bool stream() { return GetParam().producers == 1 && GetParam().consumers == 1 && !GetParam().cells; }
};
INSTANTIATE_TEST_SUITE_P(Forms, EveryFifo,
                         ::testing::Values(Form{"Stream", 1, 1, false},
                                           Form{"ClaimsOfConsumers", 1, 2, false},
                                           Form{"ClaimsOfProducers", 2, 1, false},
                                           Form{"ClaimsOfBoth", 3, 2, false}, Form{"Cells", 1, 2, true}),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryFifo, KeepsOrderAndBytes) {
  Queue queue = make(spec());
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  std::mt19937 random(1);
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  while (received < 20000) {
    if (random() % 2 == 0) {
      const auto message = test::make_message(3, sent, test::some_size(random, 20000));
      const Outcome outcome = producer.try_put(std::as_bytes(std::span(message))).value();
      ASSERT_TRUE(outcome == Outcome::kDone || outcome == Outcome::kWouldBlock);
      if (outcome == Outcome::kDone) ++sent;
    } else {
      MessageView view;
      if (consumer.try_take(view).value() != Outcome::kDone) continue;
      test::Stamp stamp;
      ASSERT_TRUE(test::check_message(view.data.data(), view.data.size(), stamp));
      ASSERT_EQ(stamp.number, received);
      ASSERT_TRUE(consumer.release(view));
      ++received;
    }
  }
  const QueueStats stats = queue.stats();
  EXPECT_EQ(stats.enqueued, sent);
  EXPECT_EQ(stats.dequeued, received);
  EXPECT_EQ(stats.depth, sent - received);
}

TEST_P(EveryFifo, BlocksAtItsCapacityInMessages) {
  QueueSpec with = spec();
  with.capacity = 3;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(put(producer, "a"), Outcome::kDone);
  EXPECT_EQ(put(producer, "b"), Outcome::kDone);
  EXPECT_EQ(put(producer, ""), Outcome::kDone);
  EXPECT_EQ(put(producer, "d"), Outcome::kWouldBlock);
  EXPECT_EQ(get(consumer), "a");
  EXPECT_EQ(put(producer, "d"), Outcome::kDone);
  EXPECT_EQ(put(producer, "e"), Outcome::kWouldBlock);
  EXPECT_EQ(get(consumer), "b");
  EXPECT_EQ(get(consumer), "");
  EXPECT_EQ(get(consumer), "d");
  EXPECT_EQ(get(consumer), "<empty>");
}

TEST_P(EveryFifo, BoundsItsBytesAndRefusesMoreThanHalf) {
  QueueSpec with = spec();
  with.bytes = 8192;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  const std::string half(4096, 'x');
  EXPECT_EQ(producer.try_put(bytes_of(half + "y")).error().code(), ErrorCode::kInvalid);
  for (int round = 0; round < 50; ++round) {
    EXPECT_EQ(put(producer, half), Outcome::kDone) << "half of the bytes always fits an empty queue";
    EXPECT_EQ(put(producer, std::string(4090, 'z')), stream() ? Outcome::kWouldBlock : Outcome::kDone);
    EXPECT_EQ(put(producer, half), Outcome::kWouldBlock);
    EXPECT_EQ(get(consumer), half);
    while (get(consumer) != "<empty>") {
    }
  }
}

TEST_P(EveryFifo, FailsWhereItsRuleIsToFail) {
  QueueSpec with = spec();
  with.capacity = 2;
  with.when_full = WhenFull::kFail;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(put(producer, "a"), Outcome::kDone);
  EXPECT_EQ(put(producer, "b"), Outcome::kDone);
  EXPECT_EQ(put(producer, "c"), Outcome::kFull);
  EXPECT_EQ(queue.stats().refused, 1U);
  EXPECT_EQ(get(consumer), "a");
  EXPECT_EQ(put(producer, "d"), Outcome::kDone);
}

TEST_P(EveryFifo, DropsTheNewest) {
  QueueSpec with = spec();
  with.capacity = 2;
  with.when_full = WhenFull::kDropNewest;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(put(producer, "a"), Outcome::kDone);
  EXPECT_EQ(put(producer, "b"), Outcome::kDone);
  EXPECT_EQ(put(producer, "c"), Outcome::kDropped);
  EXPECT_EQ(get(consumer), "a");
  EXPECT_EQ(get(consumer), "b");
  EXPECT_EQ(get(consumer), "<empty>");
  EXPECT_EQ(queue.stats().dropped_newest, 1U);
  EXPECT_EQ(queue.stats().enqueued, 2U);
}

TEST_P(EveryFifo, DropsTheOldest) {
  QueueSpec with = spec();
  with.capacity = 2;
  with.when_full = WhenFull::kDropOldest;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  for (const char* text : {"a", "b", "c", "d"}) EXPECT_EQ(put(producer, text), Outcome::kDone);
  EXPECT_EQ(get(consumer), "c");
  EXPECT_EQ(get(consumer), "d");
  EXPECT_EQ(get(consumer), "<empty>");
  const QueueStats stats = queue.stats();
  EXPECT_EQ(stats.dropped_oldest, 2U);
  EXPECT_EQ(stats.enqueued, 4U);
  EXPECT_EQ(stats.dequeued, 2U);
}

TEST_P(EveryFifo, DoesNotDropWhatAConsumerHolds) {
  QueueSpec with = spec();
  with.capacity = 1;
  with.when_full = WhenFull::kDropOldest;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(put(producer, "held"), Outcome::kDone);
  MessageView held;
  ASSERT_EQ(consumer.try_take(held).value(), Outcome::kDone);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(put(producer, "x" + std::to_string(i)), Outcome::kDone);
  EXPECT_EQ(text_of(held), "held");
  EXPECT_TRUE(consumer.release(held));
  EXPECT_EQ(get(consumer), "x9");
}

TEST_P(EveryFifo, TimesOutOnBothSides) {
  QueueSpec with = spec();
  with.capacity = 1;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  MessageView message;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(consumer.take(message, 30ms).value(), Outcome::kWouldBlock);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 30ms);
  EXPECT_EQ(put(producer, "a"), Outcome::kDone);
  EXPECT_EQ(producer.put(bytes_of("b"), 30ms).value(), Outcome::kWouldBlock);
  EXPECT_EQ(get(consumer), "a");
  EXPECT_EQ(get(consumer), "<empty>");
}

TEST_P(EveryFifo, WakesASleeperOnEitherSide) {
  QueueSpec with = spec();
  with.capacity = 1;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  constexpr int kRounds = 2000;
  std::thread reader([&] {
    for (int i = 0; i < kRounds; ++i) {
      MessageView message;
      ASSERT_EQ(consumer.take(message, 20s).value(), Outcome::kDone);
      ASSERT_EQ(text_of(message), std::to_string(i));
      ASSERT_TRUE(consumer.release(message));
      if (i % 50 == 0) std::this_thread::sleep_for(2ms);  // lets the other side fall asleep
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    ASSERT_EQ(producer.put(bytes_of(std::to_string(i)), 20s).value(), Outcome::kDone);
    if (i % 70 == 0) std::this_thread::sleep_for(2ms);
  }
  reader.join();
}

TEST_P(EveryFifo, EndsWhenAllProducersAreDoneAndAllIsRead) {
  QueueSpec with = spec();
  if (with.consumers > 1) with.producers = 2;
  Queue queue = Queue::create_in_memory(with, "test").value();
  Consumer consumer = queue.consumer(0).value();
  std::vector<Producer> producers;
  for (std::uint32_t i = 0; i < with.producers; ++i) producers.push_back(queue.producer(i).value());
  for (Producer& producer : producers) {
    EXPECT_EQ(put(producer, "last"), Outcome::kDone);
    EXPECT_TRUE(producer.close(EndState::kDone));
  }
  for (std::uint32_t i = 0; i < with.producers; ++i) EXPECT_EQ(get(consumer), "last");
  EXPECT_EQ(get(consumer), "<end>");
  EXPECT_EQ(get(consumer), "<end>");
}

TEST_P(EveryFifo, TellsOfADeathAfterWhatWasSent) {
  QueueSpec with = spec();
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(put(producer, "a"), Outcome::kDone);
  ASSERT_TRUE(queue.close_end({Side::kProducer, 0}, EndState::kDead));
  EXPECT_EQ(get(consumer), "a");
  EXPECT_EQ(get(consumer), "<dead>");
  EXPECT_EQ(get(consumer), "<dead>");
  EXPECT_EQ(put(producer, "too late"), Outcome::kEndOfStream);
}

TEST_P(EveryFifo, ToldProducersWhenNobodyReadsAnyMore) {
  Queue queue = make(spec());
  Producer producer = queue.producer(0).value();
  EXPECT_EQ(put(producer, "a"), Outcome::kDone) << "a consumer that has not come yet is no reason to fail";
  ASSERT_TRUE(queue.close_end({Side::kConsumer, 0}, EndState::kDone));
  if (GetParam().consumers == 2) {
    EXPECT_EQ(put(producer, "b"), Outcome::kDone);
    ASSERT_TRUE(queue.close_end({Side::kConsumer, 1}, EndState::kDead));
    EXPECT_EQ(put(producer, "c"), Outcome::kPeerDead);
  } else {
    EXPECT_EQ(put(producer, "c"), Outcome::kEndOfStream);
  }
}

TEST_P(EveryFifo, WakesASleeperWhenItsPeerEnds) {
  Queue queue = make(spec());
  Consumer consumer = queue.consumer(0).value();
  std::thread killer([&] {
    std::this_thread::sleep_for(20ms);
    ASSERT_TRUE(queue.close_end({Side::kProducer, 0}, EndState::kDead));
  });
  MessageView message;
  EXPECT_EQ(consumer.take(message, 20s).value(), Outcome::kPeerDead);
  killer.join();
}

TEST_P(EveryFifo, OneEndIsHeldByOneProcessAtATime) {
  Queue queue = make(spec());
  Producer producer = queue.producer(0).value();
  EXPECT_EQ(queue.producer(0).error().code(), ErrorCode::kConflict);
  ASSERT_TRUE(producer.close(EndState::kDone));
  EXPECT_EQ(queue.producer(0).error().code(), ErrorCode::kConflict) << "a closed end stays closed";
  EXPECT_THAT(queue.end_states(Side::kProducer), ::testing::Each(EndState::kDone));
}

TEST_P(EveryFifo, AVacatedEndGoesOnWhereItWas) {
  Queue queue = make(spec());
  {
    Producer producer = queue.producer(0).value();
    for (int i = 0; i < 100; ++i) EXPECT_EQ(put(producer, std::to_string(i)), Outcome::kDone);
    Consumer consumer = queue.consumer(0).value();
    for (int i = 0; i < 40; ++i) EXPECT_EQ(get(consumer), std::to_string(i));
    MessageView taken;
    EXPECT_EQ(consumer.try_take(taken).value(), Outcome::kDone);
  }
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(producer.count(), 100U);
  EXPECT_EQ(consumer.count(), 40U);
  EXPECT_EQ(put(producer, "100"), Outcome::kDone);
  for (int i = 40; i <= 100; ++i) EXPECT_EQ(get(consumer), std::to_string(i));
  EXPECT_EQ(get(consumer), "<empty>");
}

TEST(Stream, WhoTakesOverFindsWhereItsPredecessorStoodEvenIfThatWasNotPublished) {
  // A process may die between any two of the stores that publish: word, count, position.
  for (const bool count_published : {false, true}) {
    for (const std::uint32_t index : {0U, 1U}) {  // the producer's slot, the consumer's
      Queue queue = Queue::create_in_memory({}, "test").value();
      UniqueFd fd = queue.open_descriptor().value();
      ring::Region region;
      std::string why;
      ASSERT_EQ(region.open(fd.get(), why), 0) << why;
      static_cast<void>(fd.release());
      ring::Slot& slot = region.slot(index);
      std::uint64_t position = 0;
      std::uint64_t count = 0;
      const auto put = [&](Producer& producer, std::uint64_t value) {
        ASSERT_EQ(producer.try_put(std::as_bytes(std::span(&value, 1))).value(), Outcome::kDone);
      };
      const auto take = [&](Consumer& consumer) {
        MessageView view;
        std::uint64_t value = 0;
        EXPECT_EQ(consumer.try_take(view).value(), Outcome::kDone);
        if (view.data.size() == sizeof value) std::memcpy(&value, view.data.data(), sizeof value);
        EXPECT_TRUE(consumer.release(view));
        return value;
      };
      {
        Producer producer = queue.producer(0).value();
        Consumer consumer = queue.consumer(0).value();
        for (std::uint64_t value = 1; value <= 3; ++value) put(producer, value);
        EXPECT_EQ(take(consumer), 1U);
        if (index == 0) {  // the third is put, and the second consumed, before the producer has published it
          position = 16;
          count = 1;
        } else {
          position = slot.position.load();
          count = slot.count.load();
        }
        EXPECT_EQ(take(consumer), 2U);
      }
      slot.position.store(position);
      if (!count_published) slot.count.store(count);
      Producer producer = queue.producer(0).value();
      put(producer, 4);
      Consumer consumer = queue.consumer(0).value();
      if (index == 1) {
        EXPECT_EQ(take(consumer), 2U);  // it was not released
      }
      EXPECT_EQ(take(consumer), 3U);
      EXPECT_EQ(take(consumer), 4U);
      EXPECT_EQ(queue.stats().enqueued, 4U);
      EXPECT_EQ(queue.stats().dequeued, 4U);
      EXPECT_EQ(queue.stats().bytes, 0U);
    }
  }
}

TEST(Stream, WhoTakesOverFromAProducerThatDiedWhileItWroteVoidsItsMessage) {
  Queue queue = Queue::create_in_memory({}, "test").value();
  constexpr std::size_t kHalf = 131072;
  auto* memory = static_cast<std::byte*>(
      ::mmap(nullptr, 2 * kHalf, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would explain it, and exit
    ::mprotect(memory + kHalf, kHalf, PROT_NONE);
    auto producer = queue.producer(0);
    static_cast<void>(producer->try_put(std::span(memory, 8)));
    static_cast<void>(producer->try_put(std::span(memory, 2 * kHalf)));  // ends it in the middle
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  Consumer consumer = queue.consumer(0).value();
  MessageView view;
  ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
  EXPECT_EQ(view.data.size(), 8U);
  ASSERT_TRUE(consumer.release(view));
  EXPECT_EQ(consumer.try_take(view).value(), Outcome::kWouldBlock);  // nobody finished it yet
  Producer producer = queue.producer(0).value();
  ASSERT_EQ(producer.try_put(std::span(memory, 24)).value(), Outcome::kDone);
  ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
  if (view.fragment) {  // what was voided: a consumer of whole messages passes over it
    ASSERT_TRUE(consumer.release(view));
    ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
  }
  EXPECT_EQ(view.data.size(), 24U);
  ASSERT_TRUE(consumer.release(view));
  EXPECT_EQ(queue.stats().enqueued, 2U);
  EXPECT_EQ(queue.stats().dequeued, 2U);
  EXPECT_EQ(queue.stats().bytes, 0U);
  ::munmap(memory, 2 * kHalf);
}

TEST(Priority, TheHighestLeavesFirstAndEqualsKeepOrder) {
  QueueSpec spec;
  spec.kind = QueueKind::kPriority;
  Queue queue = make(spec);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  std::mt19937 random(7);
  std::map<std::uint32_t, std::vector<int>, std::greater<>> expected;
  for (int i = 0; i < 500; ++i) {
    const std::uint32_t priority = random() % 256;
    expected[priority].push_back(i);
    ASSERT_EQ(put(producer, std::to_string(i), priority), Outcome::kDone);
  }
  for (const auto& [priority, numbers] : expected) {
    for (const int number : numbers) ASSERT_EQ(get(consumer), std::to_string(number));
  }
}

TEST(Priority, DropOldestTakesFromTheLowest) {
  QueueSpec spec;
  spec.kind = QueueKind::kPriority;
  spec.capacity = 3;
  spec.when_full = WhenFull::kDropOldest;
  Queue queue = make(spec);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(put(producer, "high", 9), Outcome::kDone);
  EXPECT_EQ(put(producer, "low1", 1), Outcome::kDone);
  EXPECT_EQ(put(producer, "low2", 1), Outcome::kDone);
  EXPECT_EQ(put(producer, "middle", 5), Outcome::kDone);
  EXPECT_EQ(put(producer, "lowest", 0), Outcome::kDropped) << "never a higher one for a lower one";
  EXPECT_EQ(get(consumer), "high");
  EXPECT_EQ(get(consumer), "middle");
  EXPECT_EQ(get(consumer), "low2");
}

TEST(Latest, OnlyTheNewestValueIsRead) {
  QueueSpec spec;
  spec.kind = QueueKind::kLatest;
  Queue queue = make(spec);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  EXPECT_EQ(get(consumer), "<empty>");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(put(producer, std::to_string(i)), Outcome::kDone);
  EXPECT_EQ(get(consumer), "99");
  EXPECT_EQ(get(consumer), "<empty>");
}

TEST(TimeToLive, MessagesThatWaitTooLongAreDroppedAndCounted) {
  for (const QueueKind kind : {QueueKind::kFifo, QueueKind::kPriority}) {
    QueueSpec spec;
    spec.kind = kind;
    spec.capacity = 3;
    spec.ttl = 30ms;
    Queue queue = Queue::create_in_memory(spec, "test").value();
    Producer producer = queue.producer(0).value();
    Consumer consumer = queue.consumer(0).value();
    const std::array<std::byte, 16> old{std::byte{1}};
    const std::array<std::byte, 8> fresh{std::byte{2}};
    MessageView held;
    ASSERT_EQ(producer.try_put(old, 1).value(), Outcome::kDone);
    ASSERT_EQ(consumer.try_take(held).value(), Outcome::kDone);
    for (std::uint32_t i = 0; i < 3; ++i) ASSERT_EQ(producer.try_put(old, i).value(), Outcome::kDone);
    // Full of messages that nobody takes: there is room when they are too old.
    ASSERT_EQ(producer.put(fresh, 10s, 2).value(), Outcome::kDone);
    EXPECT_GE(queue.stats().expired, 1U);
    MessageView view;
    Outcome outcome = consumer.try_take(view).value();
    while (outcome == Outcome::kDone && view.data.size() != fresh.size()) {  // not yet too old
      ASSERT_TRUE(consumer.release(view));
      outcome = consumer.try_take(view).value();
    }
    ASSERT_EQ(outcome, Outcome::kDone);
    ASSERT_TRUE(consumer.release(view));
    ASSERT_TRUE(consumer.release(held));  // what is held is not dropped
    ASSERT_EQ(producer.try_put(fresh).value(), Outcome::kDone);
    while (queue.stats().expired + queue.stats().dequeued < 6) {
      outcome = consumer.try_take(view).value();
      if (outcome == Outcome::kDone) {
        ASSERT_TRUE(consumer.release(view));
      }
    }
    const QueueStats stats = queue.stats();
    EXPECT_EQ(stats.enqueued, 6U);
    EXPECT_EQ(stats.depth, 0U);
    EXPECT_EQ(stats.bytes, 0U);
    EXPECT_EQ(queue.spec().ttl, 30ms);
  }
}

/// Those that several consumers can share.
class EveryShared : public EveryFifo {};
INSTANTIATE_TEST_SUITE_P(Forms, EveryShared,
                         ::testing::Values(Form{"Claims", 1, 2, false}, Form{"ClaimsOfBoth", 2, 2, false},
                                           Form{"Cells", 1, 2, true}),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryShared, AHeldMessageIsDeliveredAgainInItsPlaceWhenItsConsumerDies) {
  Queue queue = make(spec());
  Producer producer = queue.producer(0).value();
  Consumer first = queue.consumer(0).value();
  Consumer second = queue.consumer(1).value();
  for (const char* text : {"a", "b", "c"}) EXPECT_EQ(put(producer, text), Outcome::kDone);
  MessageView held;
  ASSERT_EQ(first.try_take(held).value(), Outcome::kDone);
  EXPECT_FALSE(held.redelivered);
  ASSERT_TRUE(queue.close_end({Side::kConsumer, 0}, EndState::kDead));
  MessageView again;
  ASSERT_EQ(second.try_take(again).value(), Outcome::kDone);
  EXPECT_EQ(text_of(again), "a");
  EXPECT_TRUE(again.redelivered);
  EXPECT_TRUE(second.release(again));
  EXPECT_EQ(get(second), "b");
  EXPECT_EQ(queue.stats().redelivered, 1U);
  EXPECT_FALSE(first.release(held)) << "it is not his any more";
}

TEST(Cells, LongAndShortMessagesInAnyOrderOfReleaseFindRoom) {
  QueueSpec spec;
  spec.kind = QueueKind::kPriority;
  spec.bytes = 65536;
  spec.capacity = 64;
  Queue queue = make(spec);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  std::mt19937 random(3);
  std::uint64_t sent = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto message = test::make_message(1, sent, test::some_size(random, 32768));
    if (producer.try_put(std::as_bytes(std::span(message)), random() % 4).value() == Outcome::kDone) ++sent;
    if (random() % 2 == 0) continue;
    MessageView view;
    if (consumer.try_take(view).value() != Outcome::kDone) continue;
    test::Stamp stamp;
    ASSERT_TRUE(test::check_message(view.data.data(), view.data.size(), stamp));
    ASSERT_TRUE(consumer.release(view));
  }
  while (get(consumer) != "<empty>") {
  }
  EXPECT_EQ(queue.stats().dequeued, sent);
  EXPECT_EQ(queue.stats().bytes, 0U);
  EXPECT_EQ(put(producer, std::string(32768, 'x')), Outcome::kDone)
      << "an empty queue has room for half of its bytes";
}

TEST(Files, AreMadeWholeAndOnce) {
  const auto folder = make_temporary_folder("/dev/shm", "mvm-queue-test-").value();
  QueueSpec spec;
  spec.kind = QueueKind::kPriority;
  spec.capacity = 7;
  spec.bytes = 12345;
  spec.when_full = WhenFull::kFail;
  spec.timeout = 5ms;
  spec.producers = 3;
  spec.consumers = 4;
  spec.deliver = Deliver::kByKey;
  spec.id = 99;
  {
    auto queue = Queue::create(folder / "q", spec, 0640);
    ASSERT_TRUE(queue) << queue.error().describe();
  }
  struct stat info {};
  ASSERT_EQ(::stat((folder / "q").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0640U);
  EXPECT_EQ(static_cast<std::uint64_t>(info.st_size), file_size(spec));
  EXPECT_EQ(static_cast<std::uint64_t>(info.st_blocks) * 512, file_size(spec))
      << "its pages are the creator's";
  EXPECT_EQ(Queue::create(folder / "q", spec).error().code(), ErrorCode::kExists);
  auto queue = Queue::open(folder / "q");
  ASSERT_TRUE(queue);
  EXPECT_EQ(queue->spec().capacity, 7U);
  EXPECT_EQ(queue->spec().bytes, 12345U);
  EXPECT_EQ(queue->spec().when_full, WhenFull::kFail);
  EXPECT_EQ(queue->spec().timeout, std::optional<std::chrono::nanoseconds>(5ms));
  EXPECT_EQ(queue->spec().deliver, Deliver::kByKey);
  EXPECT_EQ(queue->spec().producers, 3U);
  EXPECT_EQ(queue->spec().id, 99U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  EXPECT_TRUE(remove_tree(folder));
}

TEST(Files, BoundsAreChecked) {
  QueueSpec spec;
  spec.capacity = 0;
  EXPECT_EQ(Queue::create_in_memory(spec, "x").error().code(), ErrorCode::kInvalid);
  spec = {};
  spec.producers = 5000;
  EXPECT_EQ(Queue::create_in_memory(spec, "x").error().code(), ErrorCode::kInvalid);
  spec = {};
  spec.bytes = 100;
  EXPECT_EQ(Queue::create_in_memory(spec, "x").error().code(), ErrorCode::kInvalid);
  spec = {};
  spec.capacity = 1 << 20;
  EXPECT_TRUE(validate(spec));
  spec.consumers = 2;
  EXPECT_FALSE(validate(spec));
}

TEST(Files, AreNotBelievedBlindly) {
  const auto folder = make_temporary_folder("/dev/shm", "mvm-queue-test-").value();
  ASSERT_TRUE(write_file_durably(folder / "text", std::string(100000, 'x')));
  EXPECT_EQ(Queue::open(folder / "text").error().code(), ErrorCode::kCorrupt);
  QueueSpec spec;
  { ASSERT_TRUE(Queue::create(folder / "q", spec)); }
  const std::string whole = read_file(folder / "q", 1 << 24).value();
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    const std::size_t at = random() % sizeof(ring::Header);
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
    ASSERT_TRUE(write_file_durably(folder / "bad", bytes));
    auto opened = Queue::open(folder / "bad");
    // A flipped bit either breaks the description or gives another valid one: never more memory than the file
    // has.
    if (opened) {
      EXPECT_EQ(file_size(opened->spec()), whole.size());
    }
  }
  ASSERT_EQ(::truncate((folder / "q").c_str(), 4096), 0);
  EXPECT_EQ(Queue::open(folder / "q").error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(remove_tree(folder));
}

/// A peer that writes random bytes over all of the shared memory but the description.
TEST(Hostile, ScribbledMemoryIsAnErrorNeverACrash) {
  std::mt19937 random(5);
  int found = 0;
  for (int round = 0; round < 400; ++round) {
    QueueSpec spec;
    spec.kind = round % 3 == 0 ? QueueKind::kPriority : QueueKind::kFifo;
    spec.producers = round % 7 == 0 ? 2 : 1;
    spec.consumers = round % 2 == 0 ? 1 : 3;
    spec.capacity = 16;
    spec.bytes = 4096;
    spec.when_full = round % 5 == 0 ? WhenFull::kDropOldest : WhenFull::kBlock;
    Queue queue = make(spec);
    Producer producer = queue.producer(0).value();
    Consumer consumer = queue.consumer(0).value();
    UniqueFd fd = queue.open_descriptor().value();
    const std::size_t size = file_size(spec);
    auto* memory =
        static_cast<unsigned char*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
    ASSERT_NE(memory, MAP_FAILED);
    const std::size_t cells_end = std::min<std::size_t>(size, 65536 + 8192);
    constexpr std::size_t lock = 8192;  // where one page of slots ends
    for (int step = 0; step < 60; ++step) {
      const auto message = test::make_message(0, 1, 16 + random() % 500);
      static_cast<void>(producer.try_put(std::as_bytes(std::span(message)), random() % 256));
      for (int hits = 0; hits < 3; ++hits) {
        const std::size_t at = ring::kSharedAt + random() % (cells_end - ring::kSharedAt);
        // The lock word aside: who seizes that stops his own link, which is his right.
        if (at >= lock && at < lock + 4) continue;
        memory[at] = static_cast<unsigned char>(random());
      }
      MessageView view;
      auto taken = consumer.try_take(view);
      if (!taken) {
        EXPECT_EQ(taken.error().code(), ErrorCode::kCorrupt);
        ++found;
        break;
      }
      if (*taken == Outcome::kDone) {
        unsigned sum = 0;
        for (const std::byte byte : view.data) sum += static_cast<unsigned>(byte);  // every byte can be read
        EXPECT_LE(view.data.size(), 4096U + 64U);
        EXPECT_GE(sum, 0U);
        static_cast<void>(consumer.release(view));
      }
    }
    ASSERT_EQ(::munmap(memory, size), 0);
  }
  EXPECT_GT(found, 20) << "the scribbling hit nothing that is checked";
}

TEST(Hostile, AFileCutShortCostsItsLinkOnly) {
  const auto folder = make_temporary_folder("/dev/shm", "mvm-queue-test-").value();
  for (const int form : {0, 1, 2}) {  // stream, claims, cells
    QueueSpec spec;
    spec.consumers = form == 1 ? 2 : 1;
    if (form == 2) spec.kind = QueueKind::kPriority;
    Queue queue = Queue::create(folder / "q", spec).value();
    Queue other = make(spec);
    Producer producer = queue.producer(0).value();
    Consumer consumer = queue.consumer(0).value();
    ASSERT_EQ(put(producer, "before"), Outcome::kDone);
    MessageView held;
    ASSERT_EQ(consumer.try_take(held).value(), Outcome::kDone);
    ASSERT_EQ(::truncate((folder / "q").c_str(), 0), 0);
    // Every answer will do, as long as there is one.
    for (const std::byte byte : held.data) EXPECT_EQ(byte, std::byte{0});
    static_cast<void>(consumer.release(held));
    static_cast<void>(producer.try_put(bytes_of("after")));
    MessageView message;
    static_cast<void>(consumer.try_take(message));
    static_cast<void>(queue.stats());
    static_cast<void>(queue.close_all(EndState::kDead));
    EXPECT_FALSE(queue.producer(0));
    Producer elsewhere = other.producer(0).value();
    EXPECT_EQ(put(elsewhere, "fine"), Outcome::kDone);
    ASSERT_TRUE(remove_tree(folder / "q"));
  }
  EXPECT_TRUE(remove_tree(folder));
}

TEST(WaiterTest, TellsWhichOfSeveralIsReadyAndCanBeWoken) {
  Queue one = make({});
  Queue two = make({});
  Producer to_two = two.producer(0).value();
  Consumer from_one = one.consumer(0).value();
  Consumer from_two = two.consumer(0).value();
  Waiter waiter;
  const Consumer* const consumers[] = {&from_one, &from_two};
  std::thread writer([&] {
    std::this_thread::sleep_for(10ms);
    EXPECT_EQ(put(to_two, "hello"), Outcome::kDone);
  });
  std::string got;
  while (got.empty()) {
    waiter.wait(consumers, {}, 10s);
    EXPECT_EQ(get(from_one), "<empty>");
    if (const std::string text = get(from_two); text != "<empty>") got = text;
  }
  EXPECT_EQ(got, "hello");
  writer.join();
  std::thread waker([&] {
    std::this_thread::sleep_for(10ms);
    waiter.wake();
  });
  const auto begin = std::chrono::steady_clock::now();
  waiter.wait(consumers, {}, 20s);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  waker.join();
}

}  // namespace
}  // namespace mvm::queuevm
