// Queue::drain: taking away what waits, while others use the queue and any of them may be killed.
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
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
using ::testing::IsEmpty;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

void expect_balance(const Queue& queue) {
  const QueueStats stats = queue.stats();
  EXPECT_EQ(stats.enqueued,
            stats.dequeued + stats.drained + stats.depth + stats.dropped_oldest + stats.expired);
}

class EveryFormDrained : public test::EveryForm {};
INSTANTIATE_TEST_SUITE_P(Forms, EveryFormDrained,
                         ::testing::Values(Form{"Stream", 1, 1, QueueKind::kFifo, WhenFull::kBlock},
                                           Form{"ClaimsOfConsumers", 1, 2, QueueKind::kFifo,
                                                WhenFull::kBlock},
                                           Form{"ClaimsOfBoth", 2, 2, QueueKind::kFifo, WhenFull::kBlock},
                                           Form{"Cells", 2, 2, QueueKind::kFifo, WhenFull::kDropOldest},
                                           Form{"Priority", 1, 2, QueueKind::kPriority, WhenFull::kBlock}),
                         [](const auto& form) { return form.param.name; });

TEST_P(EveryFormDrained, TakesAwayWhatWaits) {
  Queue queue = make(spec());
  EXPECT_THAT(queue.drain({.preview = 100})->messages, IsEmpty());
  Producer producer = queue.producer(0).value();
  for (const char* text : {"one", "", "three"})
    ASSERT_EQ(producer.try_put(bytes_of(text)).value(), Outcome::kDone);
  const DrainedQueue drained = queue.drain({.preview = 4}).value();
  EXPECT_THAT(heads(drained), ElementsAre("one", "", "thre"));
  EXPECT_EQ(drained.messages[2].size, 5U);
  EXPECT_EQ(drained.messages[2].number, 2U);
  EXPECT_FALSE(drained.more);
  QueueStats stats = queue.stats();
  EXPECT_EQ(stats.enqueued, 3U);
  EXPECT_EQ(stats.drained, 3U);
  EXPECT_EQ(stats.dequeued, 0U);
  EXPECT_EQ(stats.depth, 0U);
  EXPECT_EQ(stats.bytes, 0U);
  EXPECT_TRUE(queue.peek(10, 10)->messages.empty());
  // Whoever comes for it later finds what was put afterwards, and nothing else.
  ASSERT_EQ(producer.try_put(bytes_of("later")).value(), Outcome::kDone);
  EXPECT_EQ(queue.peek(10, 10)->messages.size(), 1U);
  Consumer consumer = queue.consumer(0).value();
  MessageView view;
  ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
  EXPECT_EQ(view.data.size(), 5U);
  ASSERT_TRUE(consumer.release(view));
  EXPECT_EQ(consumer.try_take(view).value(), Outcome::kWouldBlock);
  EXPECT_EQ(consumer.count(), 1U);
  stats = queue.stats();
  EXPECT_EQ(stats.dequeued, 1U);
  EXPECT_EQ(stats.drained, 3U);
  EXPECT_EQ(stats.bytes_dequeued, 5U);
  EXPECT_THAT(queue.drain({.before = ~std::uint64_t{0}})->messages, IsEmpty());  // whatever is asked
  expect_balance(queue);
}

TEST_P(EveryFormDrained, WhatAConsumerHoldsStays) {
  Queue queue = make(spec());
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  for (const char* text : {"one", "two", "three", "four", "five"})
    ASSERT_EQ(producer.try_put(bytes_of(text)).value(), Outcome::kDone);
  std::array<MessageView, 2> held;
  for (MessageView& view : held) ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
  EXPECT_THAT(heads(queue.drain({.preview = 9}).value()), ElementsAre("three", "four", "five"));
  EXPECT_EQ(queue.stats().depth, 2U);
  ASSERT_EQ(producer.try_put(bytes_of("six")).value(), Outcome::kDone);
  MessageView next;
  ASSERT_EQ(consumer.try_take(next).value(), Outcome::kDone);
  EXPECT_EQ(std::memcmp(next.data.data(), "six", 3), 0);
  for (const MessageView& view : held) ASSERT_TRUE(consumer.release(view));
  ASSERT_TRUE(consumer.release(next));
  EXPECT_EQ(consumer.count(), 3U);
  EXPECT_EQ(queue.stats().dequeued, 3U);
  EXPECT_EQ(queue.stats().drained, 3U);
  EXPECT_EQ(queue.stats().depth, 0U);
  // And again, now that it has passed them.
  ASSERT_EQ(producer.try_put(bytes_of("seven")).value(), Outcome::kDone);
  ASSERT_EQ(producer.try_put(bytes_of("eight")).value(), Outcome::kDone);
  EXPECT_THAT(queue.drain({.preview = 9})->messages.back().head, "eight");
  expect_balance(queue);
}

TEST_P(EveryFormDrained, GoesOnWhereItsBoundsWereMet) {
  Queue queue = make(spec());
  Producer producer = queue.producer(0).value();
  for (int i = 0; i < 10; ++i) ASSERT_EQ(producer.try_put(bytes_of("0123456789"), 0).value(), Outcome::kDone);
  DrainRequest request{.most = 3, .preview = 10};
  DrainedQueue drained = queue.drain(request).value();
  EXPECT_EQ(drained.messages.size(), 3U);
  EXPECT_TRUE(drained.more);
  Consumer consumer = queue.consumer(0).value();  // a stream's passes over them, and takes the fourth
  MessageView view;
  ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
  ASSERT_TRUE(consumer.release(view));
  ASSERT_TRUE(consumer.close(EndState::kDone));
  ASSERT_TRUE(producer.try_put(bytes_of("later"), 0));
  request = {.most = 100, .preview = 10, .room = 25, .before = drained.before};
  drained = queue.drain(request).value();
  EXPECT_EQ(drained.messages.size(), 2U);
  EXPECT_TRUE(drained.more);
  expect_balance(queue);
}

TEST_P(EveryFormDrained, RoomComesBack) {
  QueueSpec with = spec();
  if (with.when_full == WhenFull::kDropOldest) GTEST_SKIP() << "never full";
  with.capacity = 4;
  Queue queue = make(with);
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  while (producer.try_put(bytes_of("x")).value() == Outcome::kDone) {
  }
  std::atomic<bool> put = false;
  std::thread waits([&] { put = producer.put(bytes_of("y"), 20s).value() == Outcome::kDone; });
  while (queue.stats().waiting_producers == 0) std::this_thread::yield();
  ASSERT_TRUE(queue.drain({}));
  MessageView view;  // of a stream the first stays
  const auto first = consumer.take(view, 20s);
  ASSERT_EQ(first.value(), Outcome::kDone);
  ASSERT_TRUE(consumer.release(view));
  waits.join();
  EXPECT_TRUE(put);
  expect_balance(queue);
}

// ---- many at once ----

/// The soak kills for longer.
long kill_for() {
  const char* wanted = std::getenv("MVM_KILL_MS");
  return wanted != nullptr ? std::strtol(wanted, nullptr, 10) : 1000;
}

/// What became of each message, in memory that all processes share.
struct Fates {
  static constexpr std::uint64_t kMost = 1U << 22;
  std::atomic<std::uint64_t> torn;
  std::atomic<std::uint8_t> consumed[kMost];
  std::atomic<std::uint8_t> drained[kMost];
};

class SharedFates {
 public:
  SharedFates()
      : fates_(static_cast<Fates*>(::mmap(nullptr, sizeof(Fates), PROT_READ | PROT_WRITE,
                                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {}
  ~SharedFates() { ::munmap(fates_, sizeof(Fates)); }
  SharedFates(const SharedFates&) = delete;
  SharedFates& operator=(const SharedFates&) = delete;
  Fates* operator->() const { return fates_; }
  Fates& operator*() const { return *fates_; }

 private:
  Fates* fates_;
};

/// A message says which one it is; the rest of it looks like the words of a stream.
std::vector<std::uint64_t> content(std::uint64_t id, std::size_t words) {
  std::vector<std::uint64_t> data(words, id);
  for (std::size_t i = 1; i < words; ++i) data[i] = 9 | (id & 0xffffU) << 32;
  return data;
}

void note(Fates& fates, std::atomic<std::uint8_t>* where, const void* data, std::size_t size) {
  std::uint64_t id = 0;
  if (size < 8) {
    fates.torn.fetch_add(1);
    return;
  }
  std::memcpy(&id, data, 8);
  const auto whole = content(id, size / 8);
  if (id >= Fates::kMost || size % 8 != 0 || std::memcmp(data, whole.data(), size) != 0) {
    fates.torn.fetch_add(1);
    return;
  }
  where[id].fetch_add(1);
}

/// Puts until told to stop: messages `slot`, `slot` + 2, ...
void produce(const Queue& queue, std::uint32_t slot, const std::atomic<bool>* stop) {
  ring::End end = test::attach(queue, ring::Side::kProducer, slot);
  ring::Spin spin;
  std::mt19937 random(static_cast<unsigned>(::getpid()) + slot);
  while (stop == nullptr || !*stop) {
    const std::uint64_t number = end.count();  // which its slot knows, whoever died in it
    const std::uint64_t id = number * 2 + slot;
    if (id >= Fates::kMost) break;
    const auto data = content(id, random() % 64 == 0 ? 1 + random() % 4000 : 1 + random() % 4);
    const std::size_t size = data.size() * 8;
    if (end.is_stream() && end.quick_put(data.data(), size)) continue;
    if (end.is_claims() && size <= 256 && end.claims_quick_put(data.data(), size)) continue;
    const auto put = [&] { return end.put(data.data(), size, 0, 0); };
    if (ring::until_done(end, put, 1'000'000'000, spin, {}) == MVM_EOS) break;
  }
}

std::int64_t get(ring::End& end, std::vector<std::byte>& buffer, Fates& fates, std::mt19937& random) {
  const std::size_t room = buffer.size();
  if (random() % 4 != 0 && end.is_stream()) {
    const std::int64_t size = end.quick_get(buffer.data(), room);
    if (size >= 0) return note(fates, fates.consumed, buffer.data(), static_cast<std::size_t>(size)), MVM_OK;
  }
  ring::View first;
  ring::View second;
  if (const int result = end.take(first); result != MVM_OK) return result;
  const bool two = random() % 4 == 0 && end.take(second) == MVM_OK;
  for (const ring::View* view : {&first, &second}) {
    if (view == &second && !two) continue;
    std::memcpy(buffer.data(), view->data, view->size);
    if (const int result = end.release(view->token); result != MVM_OK) return result;
    if (view->aborted) continue;  // its producer died before it was whole: void, and counted by nobody
    note(fates, fates.consumed, buffer.data(), view->size);
  }
  return MVM_OK;
}

void consume(const Queue& queue, Fates& fates, std::uint32_t slot) {
  ring::End end = test::attach(queue, ring::Side::kConsumer, slot);
  ring::Spin spin;
  std::vector<std::byte> buffer(1 << 20);
  std::mt19937 random(static_cast<unsigned>(::getpid()) + slot);
  for (;;) {
    const std::int64_t result =
        ring::until_done(end, [&] { return get(end, buffer, fates, random); }, 1'000'000'000, spin, {});
    if (result == MVM_EOS || result == MVM_ECORRUPT || (result == MVM_PEERDEAD && end.finished())) break;
    if (random() % 1000 == 0) ::usleep(static_cast<useconds_t>(random() % 3000));  // that something waits
  }
}

/// True where there was nothing.
bool drain_once(Queue& queue, Fates& fates, std::mt19937& random) {
  const auto drained = queue.drain({.most = 1 + random() % 64, .preview = 1 << 20});
  if (!drained) {
    if (drained.error().code() == ErrorCode::kTimeout) return true;
    std::fprintf(stderr, "%s\n", drained.error().describe().c_str());
    fates.torn.fetch_add(1);
    return true;
  }
  for (const PeekedMessage& message : drained->messages)
    note(fates, fates.drained, message.head.data(), message.head.size());
  return drained->messages.empty();
}

struct Totals {
  std::uint64_t consumed = 0, drained = 0, both = 0, none = 0;
};

Totals totals(const Fates& fates, const Queue& queue, std::uint32_t producers) {
  Totals sum;
  for (std::uint32_t slot = 0; slot < producers; ++slot) {
    const ring::Region region = test::open_region(queue);
    const std::uint64_t put = region.slot(slot).count.load();
    for (std::uint64_t i = 0; i < put; ++i) {
      const unsigned consumed = fates.consumed[i * 2 + slot].load();
      const unsigned drained = fates.drained[i * 2 + slot].load();
      sum.consumed += consumed;
      sum.drained += drained;
      sum.both += consumed + drained > 1 ? 1U : 0U;
      sum.none += consumed + drained == 0 ? 1U : 0U;
    }
  }
  return sum;
}

TEST_P(EveryFormDrained, EachMessageIsConsumedOrDrained) {
  if (spec().when_full == WhenFull::kDropOldest) GTEST_SKIP() << "loses messages itself";
  const SharedFates fates;
  QueueSpec with = spec();
  with.bytes = 65536;
  Queue queue = make(with);
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < with.producers; ++i)
    threads.emplace_back([&, i] {
      produce(queue, i, &stop);
      static_cast<void>(queue.close_end({Side::kProducer, i}, EndState::kDone));
    });
  for (std::uint32_t i = 0; i < with.consumers; ++i)
    threads.emplace_back([&, i] { consume(queue, *fates, i); });
  std::mt19937 random(5);
  const auto end = std::chrono::steady_clock::now() + 700ms;
  int drains = 0;
  while (std::chrono::steady_clock::now() < end || drains < 50)
    drains += drain_once(queue, *fates, random) ? 0 : 1;
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const Totals sum = totals(*fates, queue, with.producers);
  const QueueStats stats = queue.stats();
  EXPECT_EQ(fates->torn.load(), 0U);
  EXPECT_EQ(sum.both, 0U);
  EXPECT_EQ(sum.none, 0U);
  EXPECT_EQ(stats.drained, sum.drained);
  EXPECT_EQ(stats.dequeued, sum.consumed);
  EXPECT_EQ(stats.depth, 0U);
  EXPECT_GT(sum.drained, 0U);
  expect_balance(queue);
}

TEST_P(EveryFormDrained, WhoeverIsKilled) {
  if (spec().when_full == WhenFull::kDropOldest) GTEST_SKIP() << "loses messages itself";
  const SharedFates fates;
  QueueSpec with = spec();
  with.bytes = 65536;
  Queue queue = make(with);
  // Producers, consumers, and one that drains; who is killed has a successor in his slot.
  const std::uint32_t drainer = with.producers + with.consumers;
  const auto start = [&](std::uint32_t who) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (who < with.producers) produce(queue, who, nullptr);
    if (who >= with.producers && who < drainer) consume(queue, *fates, who - with.producers);
    std::mt19937 random(static_cast<unsigned>(::getpid()));
    Queue own = Queue::adopt(queue.open_descriptor().value()).value();
    while (who == drainer) drain_once(own, *fates, random);
    ::_exit(0);
  };
  std::vector<pid_t> children;
  for (std::uint32_t who = 0; who <= drainer; ++who) children.push_back(start(who));
  std::mt19937 random(11);
  std::uint64_t lost_consumers = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kill_for());
  while (std::chrono::steady_clock::now() < end) {
    ::usleep(static_cast<useconds_t>(random() % 8000));
    // Cells do not tell a producer's successor exactly how many there were.
    const std::uint32_t first = with.kind == QueueKind::kPriority ? with.producers : 0;
    const std::uint32_t who =
        random() % 2 == 0 ? drainer : first + static_cast<std::uint32_t>(random() % (drainer + 1 - first));
    ::kill(children[who], SIGKILL);
    ::waitpid(children[who], nullptr, 0);
    lost_consumers += who >= with.producers && who < drainer ? 1U : 0U;
    children[who] = start(who);
  }
  // The end: no more producers; what is left is consumed or drained.
  for (std::uint32_t who = 0; who < with.producers; ++who) {
    ::kill(children[who], SIGKILL);
    ::waitpid(children[who], nullptr, 0);
    ASSERT_TRUE(queue.close_end({Side::kProducer, who}, EndState::kDone));
  }
  for (std::uint32_t who = with.producers; who < drainer; ++who) ::waitpid(children[who], nullptr, 0);
  ::kill(children[drainer], SIGKILL);
  ::waitpid(children[drainer], nullptr, 0);
  EXPECT_THAT(queue.drain({})->messages, IsEmpty());
  // A stream's producer may have died before it counted what it had published.
  if (with.producers + with.consumers == 2) test::attach(queue, ring::Side::kConsumer, 0).close(ring::kDone);
  const Totals sum = totals(*fates, queue, with.producers);
  const QueueStats stats = queue.stats();
  EXPECT_EQ(fates->torn.load(), 0U);
  EXPECT_EQ(sum.both, 0U);
  EXPECT_EQ(stats.depth, 0U);
  EXPECT_GT(sum.drained, 0U);
  // Those who were killed may have had a message, or drained some, before they noted it here.
  EXPECT_GE(stats.dequeued + 2 * static_cast<std::uint64_t>(with.producers), sum.consumed);
  EXPECT_LE(stats.dequeued, sum.consumed + 2 * lost_consumers);
  EXPECT_GE(stats.drained, sum.drained);
  expect_balance(queue);
}

// ---- streams alone ----

TEST(StreamDrain, TheFirstStaysWithAConsumerThatLooksAway) {
  Queue queue = Queue::create_in_memory({}, "test").value();
  Producer producer = queue.producer(0).value();
  Consumer consumer = queue.consumer(0).value();
  for (const char* text : {"one", "two", "three"})
    ASSERT_EQ(producer.try_put(bytes_of(text)).value(), Outcome::kDone);
  EXPECT_THAT(heads(queue.drain({.preview = 9}).value()), ElementsAre("two", "three"));
  ASSERT_EQ(producer.try_put(bytes_of("four")).value(), Outcome::kDone);
  EXPECT_EQ(queue.peek(9, 9)->messages.size(), 2U);
  EXPECT_TRUE(queue.drain({})->pending);
  EXPECT_EQ(queue.stats().depth, 2U);
  MessageView view;
  for (const std::size_t size : {3U, 4U}) {
    ASSERT_EQ(consumer.try_take(view).value(), Outcome::kDone);
    EXPECT_EQ(view.data.size(), size);
    ASSERT_TRUE(consumer.release(view));
  }
  EXPECT_FALSE(queue.drain({})->pending);
  EXPECT_EQ(queue.stats().dequeued, 2U);
  expect_balance(queue);
}

TEST(StreamDrain, AMessageOfManyFragmentsGoesAsOne) {
  QueueSpec spec;
  spec.bytes = 65536;
  Queue queue = Queue::create_in_memory(spec, "test").value();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  const std::string a(4000, 'a');
  const std::string b(4000, 'b');
  const auto fragments = [&](bool whole) {
    ASSERT_EQ(producer.put_fragment(a.data(), a.size(), 8000, false, true), MVM_OK);
    if (!whole) return;
    ASSERT_EQ(producer.put_fragment(b.data(), b.size(), 8000, true, false), MVM_OK);
  };
  fragments(true);
  fragments(false);
  producer.put_abort();
  ASSERT_EQ(producer.put("x", 1, 0, 0), MVM_OK);
  fragments(false);
  const DrainedQueue drained = queue.drain({.preview = 1 << 20}).value();
  EXPECT_THAT(heads(drained), ElementsAre(a + b, "x"));
  EXPECT_EQ(drained.messages[0].size, 8000U);
  ASSERT_EQ(producer.put_fragment(b.data(), b.size(), 8000, true, false), MVM_OK);
  // Its consumer is in the middle of the third.
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  ring::View view;
  ASSERT_EQ(consumer.take(view), MVM_OK);
  EXPECT_TRUE(view.more);
  ASSERT_EQ(consumer.release(view.token), MVM_OK);
  ASSERT_EQ(producer.put("y", 1, 0, 0), MVM_OK);
  EXPECT_THAT(heads(queue.drain({.preview = 9}).value()), ElementsAre("y"));
  ASSERT_EQ(consumer.take(view), MVM_OK);
  EXPECT_TRUE(view.continuation);
  ASSERT_EQ(consumer.release(view.token), MVM_OK);
  EXPECT_EQ(consumer.take(view), ring::kAgain);
  EXPECT_EQ(queue.stats().dequeued, 1U);
  EXPECT_EQ(queue.stats().drained, 3U);
  EXPECT_EQ(queue.stats().bytes, 0U);
}

TEST(StreamDrain, AGateThatADeadManagerLeftIsOpened) {
  Queue queue = Queue::create_in_memory({}, "test").value();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  ASSERT_EQ(producer.put("x", 1, 0, 0), MVM_OK);
  const ring::Region region = test::open_region(queue);
  region.shared().drain.gate.store(7);
  region.shared().epoch.fetch_add(1);
  EXPECT_FALSE(producer.quick_put("y", 1));
  EXPECT_EQ(producer.put("y", 1, 0, 0), MVM_OK);
  EXPECT_EQ(region.shared().drain.gate.load(), 0U);
}

TEST(StreamDrain, AnImpossibleRecordBreaksTheQueueOnly) {
  Queue queue = Queue::create_in_memory({}, "test").value();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(producer.put("x", 1, 0, 0), MVM_OK);
  ASSERT_EQ(queue.drain({})->messages.size(), 4U);
  const ring::Region region = test::open_region(queue);
  ring::DrainRecord& record = region.shared().drain.record[region.shared().drain.current.load() & 1U];
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  ring::View view;
  for (const std::uint64_t end : {std::uint64_t{0}, std::uint64_t{44}, std::uint64_t{1} << 40}) {
    record.end.store(end);
    EXPECT_EQ(consumer.take(view), MVM_ECORRUPT);
  }
  EXPECT_EQ(queue.drain({}).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace mvm::queuevm
