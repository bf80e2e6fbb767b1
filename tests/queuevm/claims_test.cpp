// Claim queues: what the places' words decide, step by step. docs/formats/ring.md, "Claims".
#include <gmock/gmock.h>

#include <random>
#include <thread>

#include "mvm.h"
#include "queuevm/content.h"
#include "queuevm/ends.h"

namespace mvm::queuevm {
namespace {

using ring::kAgain;
using Engine = ring::End;

Queue make(std::uint32_t producers, std::uint32_t consumers, std::uint64_t capacity = 16) {
  QueueSpec spec;
  spec.producers = producers;
  spec.consumers = consumers;
  spec.capacity = capacity;
  return Queue::create_in_memory(spec, "claims").value();
}
Engine producer(const Queue& queue, std::uint32_t slot) {
  return test::attach(queue, ring::Side::kProducer, slot);
}
Engine consumer(const Queue& queue, std::uint32_t slot) {
  return test::attach(queue, ring::Side::kConsumer, slot);
}

int put(Engine& end, std::uint64_t value, std::uint64_t key = 0) {
  return end.put(&value, sizeof value, 0, key);
}

/// The next number; a negative result of the engine.
std::int64_t get(Engine& end, ring::View* seen = nullptr) {
  std::int64_t value = 0;
  ring::View view;
  const int result = end.get(&value, sizeof value, view);
  if (seen != nullptr) *seen = view;
  return result == MVM_OK ? value : result;
}

std::uint64_t* reserve(Engine& end) {
  std::byte* room = nullptr;
  EXPECT_EQ(end.reserve(sizeof(std::uint64_t), &room), MVM_OK);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(room) % 8, 0U);
  return reinterpret_cast<std::uint64_t*>(room);
}

TEST(Claims, APlaceThatIsBeingWrittenHoldsUpNobodyElse) {
  Queue queue = make(2, 2);
  Engine slow = producer(queue, 0);
  Engine fast = producer(queue, 1);
  Engine first = consumer(queue, 0);
  Engine second = consumer(queue, 1);
  std::uint64_t* room = reserve(slow);
  for (std::uint64_t i = 1; i <= 4; ++i) EXPECT_EQ(put(fast, i), MVM_OK);
  EXPECT_EQ(get(first), 1);
  EXPECT_EQ(get(second), 2);
  *room = 100;
  EXPECT_EQ(slow.commit(8, 0, 0), MVM_OK);
  EXPECT_EQ(get(first), 100) << "it is the oldest now";
  EXPECT_EQ(get(second), 3);
  EXPECT_EQ(get(first), 4);
  EXPECT_EQ(get(first), kAgain);
  EXPECT_EQ(get(second), kAgain);
}

TEST(Claims, NoMessageIsFoundBeforeAnEarlierOneOfItsProducer) {
  Queue queue = make(2, 1);
  Engine late = producer(queue, 0);
  Engine other = producer(queue, 1);
  Engine reader = consumer(queue, 0);
  std::uint64_t* room = reserve(late);
  EXPECT_EQ(put(other, 1), MVM_OK);
  EXPECT_EQ(get(reader), 1);  // so it has passed over the place that is written
  *room = 10;
  EXPECT_EQ(late.commit(8, 0, 0), MVM_OK);
  EXPECT_EQ(put(late, 11), MVM_OK);
  EXPECT_EQ(get(reader), 10);
  EXPECT_EQ(get(reader), 11);
}

TEST(Claims, MorePlacesBeingWrittenThanAConsumerRemembers) {
  constexpr std::uint32_t kWriters = ring::kMostHoles + 4;
  Queue queue = make(kWriters + 1, 1, 64);
  std::vector<Engine> writers;
  std::vector<std::uint64_t*> rooms;
  for (std::uint32_t i = 0; i < kWriters; ++i) {
    writers.push_back(producer(queue, i));
    rooms.push_back(reserve(writers.back()));
  }
  Engine other = producer(queue, kWriters);
  Engine reader = consumer(queue, 0);
  EXPECT_EQ(put(other, 1), MVM_OK);
  EXPECT_EQ(get(reader), kAgain);
  for (std::uint32_t i = kWriters; i-- > 0;) {
    *rooms[i] = 100 + i;
    EXPECT_EQ(writers[i].commit(8, 0, 0), MVM_OK);
  }
  for (std::uint32_t i = 0; i < kWriters; ++i) EXPECT_EQ(get(reader), 100 + i);
  EXPECT_EQ(get(reader), 1);
}

TEST(Claims, ACancelledPlaceIsPassedOver) {
  Queue queue = make(2, 2, 2);
  Engine one = producer(queue, 0);
  Engine two = producer(queue, 1);
  Engine reader = consumer(queue, 0);
  for (std::uint64_t i = 0; i < 5000; ++i) {
    reserve(one);
    EXPECT_EQ(put(two, i), MVM_OK);
    EXPECT_EQ(put(two, i), kAgain) << "a reservation counts";
    EXPECT_EQ(one.cancel(), MVM_OK);
    ASSERT_EQ(get(reader), static_cast<std::int64_t>(i));
  }
  EXPECT_EQ(get(reader), kAgain);
  EXPECT_EQ(queue.stats().depth, 0U);
  EXPECT_EQ(queue.stats().enqueued, 5000U);
}

TEST(Claims, WhatIsHeldDoesNotCountTowardsTheCapacity) {
  for (const std::uint32_t producers : {1U, 2U}) {
    Queue queue = make(producers, 4, 1);
    Engine writer = producer(queue, 0);
    std::vector<Engine> readers;
    std::vector<ring::View> held(4);
    for (std::uint32_t i = 0; i < 4; ++i) {
      EXPECT_EQ(put(writer, i), MVM_OK);
      EXPECT_EQ(put(writer, 99), kAgain);
      readers.push_back(consumer(queue, i));
      EXPECT_EQ(readers[i].take(held[i]), MVM_OK);
    }
    EXPECT_EQ(queue.stats().depth, 4U);
    // While three are held for long, the others go round; not for ever, as room is given back in order.
    std::uint64_t more = 0;
    while (put(writer, 1000 + more) == MVM_OK) {
      EXPECT_EQ(get(readers[3]), 1000 + static_cast<std::int64_t>(more));
      ++more;
    }
    EXPECT_GE(more, 1000U);
    for (std::uint32_t i = 0; i < 4; ++i) {
      std::uint64_t value = 0;
      std::memcpy(&value, held[i].data, sizeof value);
      EXPECT_EQ(value, i);
      EXPECT_EQ(readers[i].release(held[i].token), MVM_OK);
      EXPECT_EQ(readers[i].release(held[i].token), MVM_EINVAL) << "once";
    }
    EXPECT_EQ(put(writer, 7), MVM_OK);
    EXPECT_EQ(get(readers[0]), 7);
    EXPECT_EQ(queue.stats().dequeued, 5U + more);
  }
}

TEST(Claims, LookingForRoomDoesNotDisturbAReservation) {
  for (const std::uint32_t producers : {1U, 2U}) {
    Queue queue = make(producers, 2);
    Engine writer = producer(queue, 0);
    Engine reader = consumer(queue, 0);
    std::uint64_t* room = reserve(writer);
    *room = 1;
    if (producers == 2) {
      Engine other = producer(queue, 1);
      EXPECT_EQ(put(other, 2), MVM_OK);
    }
    EXPECT_TRUE(writer.ready());
    EXPECT_EQ(put(writer, 3), MVM_EINVAL);
    const std::uint64_t number = 4;
    EXPECT_FALSE(writer.claims_quick_put(&number, sizeof number));
    EXPECT_EQ(writer.commit(8, 0, 0), MVM_OK);
    EXPECT_EQ(get(reader), 1);
    if (producers == 2) {
      EXPECT_EQ(get(reader), 2);
    }
    EXPECT_EQ(get(reader), kAgain);
  }
}

TEST(Claims, KeysComeAlong) {
  Queue queue = make(2, 1);
  Engine writer = producer(queue, 0);
  Engine reader = consumer(queue, 0);
  ring::View view;
  EXPECT_EQ(put(writer, 1, 77), MVM_OK);
  EXPECT_EQ(put(writer, 2), MVM_OK);
  std::uint64_t* room = reserve(writer);
  *room = 3;
  EXPECT_EQ(writer.commit(8, 0, 78), MVM_OK);
  EXPECT_EQ(get(reader, &view), 1);
  EXPECT_EQ(view.key, 77U);
  EXPECT_EQ(get(reader, &view), 2);
  EXPECT_EQ(view.key, 0U);
  EXPECT_EQ(reader.take(view), MVM_OK);
  EXPECT_EQ(view.key, 78U);
  EXPECT_EQ(reader.release(view.token), MVM_OK);
}

TEST(Claims, TheShortWayIsTheSameQueue) {
  Queue queue = make(1, 2, 100);
  Engine writer = producer(queue, 0);
  Engine reader = consumer(queue, 0);
  Engine other = consumer(queue, 1);
  std::mt19937 random(3);
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  while (received < 20000) {
    const std::size_t size = 16 + random() % 400;  // some too long for the short way
    const auto message = test::make_message(1, sent, size);
    if (random() % 2 == 0) {
      if (random() % 3 == 0 ? writer.put(message.data(), size, 0, 0) == MVM_OK
                            : writer.claims_quick_put(message.data(), size)) {
        ++sent;
      }
      continue;
    }
    unsigned char buffer[512];
    ring::View view;
    Engine& from = random() % 2 == 0 ? reader : other;
    std::int64_t got = random() % 2 == 0 ? from.claims_quick_get(buffer, sizeof buffer) : kAgain;
    if (got < 0 && from.get(buffer, sizeof buffer, view) == MVM_OK)
      got = static_cast<std::int64_t>(view.size);
    if (got < 0) continue;
    test::Stamp stamp;
    ASSERT_TRUE(test::check_message(buffer, static_cast<std::size_t>(got), stamp));
    ASSERT_EQ(stamp.number, received++);
  }
  EXPECT_EQ(writer.count(), sent);
  EXPECT_EQ(reader.count() + other.count(), received);
  EXPECT_EQ(queue.stats().depth, sent - received);
}

TEST(Claims, AnEndThatWasClosedUnderItsProcessChangesNothingAnyMore) {
  Queue queue = make(2, 2);
  Engine writer = producer(queue, 0);
  Engine other = producer(queue, 1);
  Engine reader = consumer(queue, 0);
  Engine heir = consumer(queue, 1);
  EXPECT_EQ(put(other, 1), MVM_OK);
  ring::View held;
  EXPECT_EQ(reader.take(held), MVM_OK);
  std::uint64_t* room = reserve(writer);
  ASSERT_TRUE(queue.close_end({Side::kProducer, 0}, EndState::kDead));
  ASSERT_TRUE(queue.close_end({Side::kConsumer, 0}, EndState::kDead));
  *room = 5;
  EXPECT_EQ(writer.commit(8, 0, 0), MVM_EOS);
  EXPECT_EQ(reader.release(held.token), MVM_EOS);
  ring::View again;
  EXPECT_EQ(get(heir, &again), 1);
  EXPECT_TRUE(again.redelivered);
  EXPECT_EQ(get(heir), MVM_PEERDEAD);
  EXPECT_EQ(get(heir), kAgain);
  EXPECT_EQ(writer.count(), 0U);
  EXPECT_EQ(reader.count(), 0U);
  EXPECT_EQ(queue.stats().redelivered, 1U);
}

/// What a process leaves that dies between two steps, and what a successor or whoever declares it dead makes
/// of it: the count that was promised holds if the place was changed, and only then.
TEST(Claims, CountsAreSetRightAfterADeathBetweenTwoSteps) {
  for (const bool changed : {false, true}) {
    for (const ring::Side side : {ring::Side::kProducer, ring::Side::kConsumer}) {
      Queue queue = make(2, 2);
      const ring::Region region = test::open_region(queue);
      const std::uint32_t index = side == ring::Side::kProducer ? 0 : 2;
      {
        Engine writer = producer(queue, 0);
        Engine reader = consumer(queue, 0);
        ring::View view;
        EXPECT_EQ(put(writer, 1), MVM_OK);
        EXPECT_EQ(get(reader), 1);
        if (side == ring::Side::kProducer) {
          *reserve(writer) = 2;
        } else {
          EXPECT_EQ(put(writer, 2), MVM_OK);
          EXPECT_EQ(reader.take(view), MVM_OK);
        }
        region.slot(index).progress.store(1 | std::uint64_t{2} << ring::kClaimIndexBits);
        if (changed && side == ring::Side::kProducer) {
          EXPECT_EQ(writer.commit(8, 0, 0), MVM_OK);
        }
        if (changed && side == ring::Side::kConsumer) {
          EXPECT_EQ(reader.release(view.token), MVM_OK);
        }
      }
      region.slot(index).count.store(1);
      ring::settle_claims(region, index);
      ring::settle_claims(region, index);  // another one that does the same
      EXPECT_EQ(region.slot(index).count.load(), changed ? 2U : 1U);
      Engine reader = consumer(queue, 1);
      ring::View view;
      const bool there = side == ring::Side::kProducer ? changed : !changed;
      EXPECT_EQ(get(reader, &view), there ? 2 : kAgain);
      EXPECT_EQ(view.redelivered, there && side == ring::Side::kConsumer);
    }
  }
}

TEST(Claims, AnOnlyProducerThatDiedBeforeItCountedIsSucceeded) {
  Queue queue = make(1, 2);
  const ring::Region region = test::open_region(queue);
  {
    Engine writer = producer(queue, 0);
    for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(put(writer, i), MVM_OK);
  }
  Engine reader = consumer(queue, 0);
  EXPECT_EQ(get(reader), 0);
  region.slot(0).count.store(4);
  Engine writer = producer(queue, 0);
  EXPECT_EQ(writer.count(), 5U);
  EXPECT_EQ(put(writer, 5), MVM_OK);
  for (std::int64_t i = 1; i <= 5; ++i) EXPECT_EQ(get(reader), i);
  EXPECT_EQ(queue.stats().bytes, 0U);
}

TEST(Claims, WhatAnEndLeftIsDealtWithEvenIfWhoeverClosedItDied) {
  Queue queue = make(1, 2);
  const ring::Region region = test::open_region(queue);
  Engine writer = producer(queue, 0);
  Engine heir = consumer(queue, 1);
  {
    Engine reader = consumer(queue, 0);
    ring::View view;
    EXPECT_EQ(put(writer, 1), MVM_OK);
    EXPECT_EQ(reader.take(view), MVM_OK);
  }
  region.slot(1).state.store(ring::kDead);  // and no more
  EXPECT_EQ(get(heir), kAgain);
  ASSERT_TRUE(queue.close_end({Side::kConsumer, 0}, EndState::kDead));
  EXPECT_EQ(get(heir), 1);
  region.slot(1).settled.store(0);
  writer.check_peers();
  EXPECT_EQ(region.slot(1).settled.load(), 0U) << "whoever closed it may be at it";
  writer.check_peers();
  EXPECT_EQ(region.slot(1).settled.load(), 1U);
}

/// Rounds of the ring and of the laps' bits, with ends that sleep through many of them.
TEST(Claims, AnEndThatSleptForManyRoundsFindsItsWay) {
  for (const std::uint32_t producers : {1U, 2U}) {
    Queue queue = make(producers, 2, 3);
    Engine writer = producer(queue, 0);
    Engine reader = consumer(queue, 0);
    Engine sleeper = consumer(queue, 1);
    std::optional<Engine> dozer;
    if (producers == 2) dozer = producer(queue, 1);
    const std::uint64_t places = test::open_region(queue).geometry().cell_count;
    ASSERT_EQ(places, 1024U);
    std::uint64_t number = 0;
    // The word's laps count to 4096: beyond half of that they mislead whoever was away.
    for (const std::uint64_t laps : {1U, producers == 1 ? 2049U : 3U}) {
      for (const std::uint64_t target = number + laps * places + 5; number < target; ++number) {
        ASSERT_EQ(put(writer, number), MVM_OK);
        ASSERT_EQ(get(reader), static_cast<std::int64_t>(number));
      }
      ASSERT_EQ(get(sleeper), kAgain);
      Engine& awake = dozer ? *dozer : writer;
      for (int i = 0; i < 3; ++i) ASSERT_EQ(put(awake, number), MVM_OK);
      ASSERT_EQ(put(awake, number), kAgain);
      for (int i = 0; i < 3; ++i) ASSERT_EQ(get(sleeper), static_cast<std::int64_t>(number));
      ASSERT_EQ(get(sleeper), kAgain);
    }
  }
}

TEST(Claims, ThreadsOnBothSidesExchangeEverythingOnceAndInOrder) {
  for (const std::uint32_t producers : {1U, 3U}) {
    constexpr std::uint64_t kEach = 30000;
    Queue queue = make(producers, 3, 20);
    std::vector<std::thread> threads;
    std::vector<std::atomic<int>> seen(producers * kEach);
    for (std::uint32_t p = 0; p < producers; ++p) {
      threads.emplace_back([&, p] {
        Engine end = producer(queue, p);
        ring::Spin spin;
        std::mt19937 random(p);
        for (std::uint64_t i = 0; i < kEach; ++i) {
          const auto message = test::make_message(p, i, 16 + random() % 600);
          if (end.claims_quick_put(message.data(), message.size())) continue;
          ASSERT_EQ(ring::until_done(end, [&] { return end.put(message.data(), message.size(), 0, i % 2); },
                                     30'000'000'000, spin, {}),
                    MVM_OK);
        }
        end.close(ring::kDone);
      });
    }
    for (std::uint32_t c = 0; c < 3; ++c) {
      threads.emplace_back([&, c] {
        Engine end = consumer(queue, c);
        ring::Spin spin;
        std::vector<std::int64_t> last(producers, -1);
        unsigned char buffer[1024];
        for (;;) {
          ring::View view;
          std::int64_t size = end.claims_quick_get(buffer, sizeof buffer);
          if (size < 0) {
            const std::int64_t result = ring::until_done(
                end, [&] { return end.get(buffer, sizeof buffer, view); }, 30'000'000'000, spin, {});
            if (result == MVM_EOS) return;
            ASSERT_EQ(result, MVM_OK);
            size = static_cast<std::int64_t>(view.size);
          }
          test::Stamp stamp;
          ASSERT_TRUE(test::check_message(buffer, static_cast<std::size_t>(size), stamp));
          ASSERT_GT(static_cast<std::int64_t>(stamp.number), last[stamp.producer]);
          last[stamp.producer] = static_cast<std::int64_t>(stamp.number);
          seen[stamp.producer * kEach + stamp.number].fetch_add(1);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& count : seen) ASSERT_EQ(count.load(), 1);
    EXPECT_EQ(queue.stats().depth, 0U);
    EXPECT_EQ(queue.stats().dequeued, producers * kEach);
  }
}

}  // namespace
}  // namespace mvm::queuevm
