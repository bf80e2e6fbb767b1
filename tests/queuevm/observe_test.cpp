// Queue::peek: looking into a queue that others use.
#include <gmock/gmock.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <thread>

#include "queuevm/content.h"
#include "queuevm/ends.h"
#include "queuevm/forms.h"

namespace mvm::queuevm {
namespace {

using test::Form;
using test::heads;

using namespace std::chrono_literals;
using ::testing::ElementsAre;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

class EveryFormSeen : public test::EveryForm {};
INSTANTIATE_TEST_SUITE_P(Forms, EveryFormSeen,
                         ::testing::Values(Form{"Stream", 1, 1, QueueKind::kFifo, WhenFull::kBlock},
                                           Form{"ClaimsOfConsumers", 1, 2, QueueKind::kFifo,
                                                WhenFull::kBlock},
                                           Form{"ClaimsOfBoth", 2, 2, QueueKind::kFifo, WhenFull::kBlock},
                                           Form{"Cells", 1, 1, QueueKind::kFifo, WhenFull::kDropOldest},
                                           Form{"Priority", 1, 2, QueueKind::kPriority, WhenFull::kBlock}),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryFormSeen, ShowsWhatWaitsAndTakesNothing) {
  const Queue queue = make(spec());
  EXPECT_TRUE(queue.peek(10, 100)->messages.empty());
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  for (const char* text : {"one", "", "three", "four"})
    ASSERT_EQ(producer.try_put(bytes_of(text)).value(), Outcome::kDone);
  MessageView view;
  ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
  ASSERT_TRUE(consumer.release(view));
  for (int again = 0; again < 3; ++again) {
    const PeekedQueue peeked = queue.peek(10, 100).value();
    EXPECT_TRUE(peeked.steady);
    EXPECT_THAT(heads(peeked), ElementsAre("", "three", "four"));
    EXPECT_EQ(peeked.messages[0].number, 1U);
    EXPECT_EQ(peeked.messages[2].number, 3U);
    EXPECT_EQ(peeked.messages[1].size, 5U);
  }
  EXPECT_THAT(heads(queue.peek(2, 3).value()), ElementsAre("", "thr"));
  EXPECT_EQ(queue.peek(2, 3)->messages[1].size, 5U);
  EXPECT_EQ(queue.stats().depth, 3U);
  EXPECT_EQ(queue.stats().dequeued, 1U);
  for (const std::size_t size : {0U, 5U, 4U}) {
    ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
    EXPECT_EQ(view.data.size(), size);
    EXPECT_FALSE(view.redelivered);
    ASSERT_TRUE(consumer.release(view));
  }
  EXPECT_TRUE(queue.peek(10, 100)->messages.empty());
}

TEST_P(EveryFormSeen, FollowsTheRingRoundAfterRound) {
  QueueSpec with = spec();
  with.bytes = 65536;
  const Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  std::mt19937 random(7);
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  for (int round = 0; round < 1500; ++round) {
    for (std::uint64_t burst = random() % 9; burst > 0 && sent - received < 60; --burst, ++sent) {
      const auto message = test::make_message(1, sent, test::some_size(random, 900));
      ASSERT_EQ(producer.try_put(std::as_bytes(std::span(message))).value(), Outcome::kDone);
    }
    if (round % 10 == 0) {
      const PeekedQueue peeked = queue.peek(1000, 1 << 16).value();
      ASSERT_TRUE(peeked.steady);
      ASSERT_EQ(peeked.messages.size(), sent - received);
      for (std::uint64_t i = 0; i < sent - received; ++i) {
        test::Stamp stamp;
        ASSERT_EQ(peeked.messages[i].number, received + i);
        ASSERT_TRUE(
            test::check_message(peeked.messages[i].head.data(), peeked.messages[i].head.size(), stamp));
        ASSERT_EQ(stamp.number, received + i);
      }
    }
    for (std::uint64_t burst = random() % 9; burst > 0 && received < sent; --burst, ++received) {
      MessageView view;
      ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
      ASSERT_TRUE(consumer.release(view));
    }
  }
}

/// Both ends at work: whatever is seen is whole, and nobody is disturbed.
TEST_P(EveryFormSeen, NeverTellsATornMessage) {
  QueueSpec with = spec();
  with.bytes = 16384;
  const Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  std::atomic<bool> over = false;
  std::thread writer([&] {
    std::mt19937 random(3);
    for (std::uint64_t number = 0; !over; ++number) {
      const auto message = test::make_message(2, number, test::some_size(random, 4000));
      ASSERT_EQ(producer.put(std::as_bytes(std::span(message)), 20s).value(), Outcome::kDone);
    }
    ASSERT_TRUE(producer.close(EndState::kDone));
  });
  std::thread reader([&] {
    std::uint64_t next = 0;
    for (;;) {
      MessageView view;
      if (consumer.take(view, 20s).value() != Outcome::kDone) break;
      test::Stamp stamp;
      ASSERT_TRUE(test::check_message(view.data.data(), view.data.size(), stamp));
      ASSERT_GE(stamp.number, next);
      next = stamp.number + 1;
      ASSERT_TRUE(consumer.release(view));
    }
  });
  std::size_t seen = 0;
  std::size_t wrong = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int look = 0; look < 3000 || seen == 0; ++look) {
    const auto passed = std::chrono::steady_clock::now() - begin;
    if (passed > 60s || (passed > 5s && seen > 0)) break;
    auto peeked = queue.peek(20, 1 << 16);
    if (!peeked) ADD_FAILURE() << peeked.error().message();
    if (!peeked) break;
    for (const PeekedMessage& message : peeked->messages) {
      test::Stamp stamp;
      if (message.head.size() != message.size ||
          !test::check_message(message.head.data(), message.head.size(), stamp) ||
          stamp.number != message.number)
        ++wrong;
      ++seen;
    }
  }
  EXPECT_EQ(wrong, 0U) << "of " << seen;
  EXPECT_GT(seen, 0U);
  over = true;
  writer.join();
  reader.join();
  EXPECT_EQ(queue.stats().depth, 0U);
}

TEST_P(EveryFormSeen, TellsTheAgeOfASample) {
  const Queue queue = make(spec());
  Producer producer = queue.producer(0).value();
  const auto before = std::chrono::steady_clock::now();
  ASSERT_EQ(producer.try_put(bytes_of("first")).value(), Outcome::kDone);
  const auto put = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - put < 3ms) {
  }
  const PeekedQueue peeked = queue.peek(1, 10).value();
  ASSERT_TRUE(peeked.messages[0].age.has_value());
  EXPECT_GE(*peeked.messages[0].age, 2ms);
  EXPECT_LE(*peeked.messages[0].age, std::chrono::steady_clock::now() - before + 2ms);
}

TEST(Peek, TellsWhoHoldsAndWhatCameBack) {
  QueueSpec spec;
  spec.consumers = 2;
  const Queue queue = Queue::create_in_memory(spec, "test").value();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  for (const std::uint64_t key : {5U, 6U, 7U}) ASSERT_EQ(producer.put("abc", 3, 0, key), MVM_OK);
  {
    Consumer consumer = queue.consumer(0).value();
    MessageView view;
    ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
    ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
    const PeekedQueue peeked = queue.peek(10, 10).value();
    ASSERT_EQ(peeked.messages.size(), 3U);
    EXPECT_TRUE(peeked.messages[0].taken);
    EXPECT_TRUE(peeked.messages[1].taken);
    EXPECT_FALSE(peeked.messages[2].taken);
    EXPECT_EQ(peeked.messages[1].key, 6U);
    ASSERT_TRUE(consumer.close(EndState::kDead));
  }
  const PeekedQueue peeked = queue.peek(10, 10).value();
  ASSERT_EQ(peeked.messages.size(), 3U);
  EXPECT_TRUE(peeked.messages[0].redelivered);
  EXPECT_FALSE(peeked.messages[0].taken);
  EXPECT_FALSE(peeked.messages[2].redelivered);
}

TEST(Peek, ShowsPrioritiesInTheOrderInWhichTheyLeave) {
  QueueSpec spec;
  spec.kind = QueueKind::kPriority;
  const Queue queue = Queue::create_in_memory(spec, "test").value();
  Producer producer = queue.producer(0).value();
  ASSERT_EQ(producer.try_put(bytes_of("low"), 1, 11).value(), Outcome::kDone);
  ASSERT_EQ(producer.try_put(bytes_of("high"), 200, 12).value(), Outcome::kDone);
  ASSERT_EQ(producer.try_put(bytes_of("low too"), 1, 13).value(), Outcome::kDone);
  const PeekedQueue peeked = queue.peek(10, 10).value();
  EXPECT_THAT(heads(peeked), ElementsAre("high", "low", "low too"));
  EXPECT_EQ(peeked.messages[0].priority, 200U);
  EXPECT_EQ(peeked.messages[0].key, 12U);
  EXPECT_EQ(peeked.messages[0].number, 1U);
}

TEST(Peek, ShowsAMessageInFragmentsAsOne) {
  QueueSpec spec;
  spec.bytes = 65536;
  const Queue queue = Queue::create_in_memory(spec, "test").value();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  const std::string piece(8192, 'p');
  ASSERT_EQ(producer.put("before", 6, 0, 0), MVM_OK);
  ASSERT_EQ(producer.put_fragment(piece.data(), piece.size(), 3 * piece.size(), false, true), MVM_OK);
  ASSERT_EQ(producer.put_fragment(piece.data(), piece.size(), 3 * piece.size(), true, true), MVM_OK);
  ASSERT_EQ(producer.put_fragment(piece.data(), piece.size(), 3 * piece.size(), true, false), MVM_OK);
  ASSERT_EQ(producer.put_fragment(piece.data(), piece.size(), 2 * piece.size(), false, true), MVM_OK);
  producer.put_abort();
  ASSERT_EQ(producer.put("after", 5, 0, 0), MVM_OK);
  PeekedQueue peeked = queue.peek(10, 4).value();
  EXPECT_TRUE(peeked.steady);
  EXPECT_THAT(heads(peeked), ElementsAre("befo", "pppp", "afte"));
  EXPECT_EQ(peeked.messages[1].size, 3 * piece.size());
  EXPECT_EQ(peeked.messages[2].number, 2U);
  // Its consumer is in the middle of it.
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  ring::View view;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(consumer.take(view), MVM_OK);
    ASSERT_EQ(consumer.release(view.token), MVM_OK);
  }
  peeked = queue.peek(10, 4).value();
  EXPECT_THAT(heads(peeked), ElementsAre("afte"));
  EXPECT_EQ(peeked.messages[0].number, 2U);
}

TEST(Peek, ScribbledMemoryIsAnErrorNeverACrash) {
  std::mt19937 random(9);
  int found = 0;
  for (int round = 0; round < 300; ++round) {
    QueueSpec spec;
    spec.kind = round % 3 == 0 ? QueueKind::kPriority : QueueKind::kFifo;
    spec.consumers = round % 2 == 0 ? 1 : 2;
    spec.capacity = 16;
    spec.bytes = 4096;
    const Queue queue = Queue::create_in_memory(spec, "test").value();
    Producer producer = queue.producer(0).value();
    for (int i = 0; i < 10; ++i)
      ASSERT_EQ(producer.try_put(bytes_of("what nobody will read")).value(), Outcome::kDone);
    const ring::Region region = test::open_region(queue);
    auto* const memory = reinterpret_cast<unsigned char*>(&region.shared());
    for (int hits = 0; hits < 200; ++hits) memory[random() % 65536] = static_cast<unsigned char>(random());
    region.shared().broken.store(0);
    auto peeked = queue.peek(100, 100);
    if (!peeked) {
      EXPECT_EQ(peeked.error().code(), ErrorCode::kCorrupt);
      ++found;
      continue;
    }
    for (const PeekedMessage& message : peeked->messages) EXPECT_LE(message.head.size(), 100U);
  }
  EXPECT_GT(found, 20);
}

}  // namespace
}  // namespace mvm::queuevm
