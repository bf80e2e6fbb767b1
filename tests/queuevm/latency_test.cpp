// How long messages take through a queue, by samples.
#include <gmock/gmock.h>

#include <map>

#include "queuevm/ends.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(LatencyBuckets, HoldWhatIsAtMostASixteenthFromTheirMiddle) {
  std::uint32_t before = 0;
  for (std::uint64_t ns = 0; ns < std::uint64_t{1} << 40; ns += 1 + ns / 50) {
    const std::uint32_t bucket = ring::latency_bucket(ns);
    ASSERT_LT(bucket, ring::kLatencyBuckets);
    ASSERT_GE(bucket, before) << ns;
    before = bucket;
    const std::uint64_t middle = ring::latency_of(bucket);
    ASSERT_LE(middle > ns ? middle - ns : ns - middle, ns / 16 + 1) << ns;
  }
  EXPECT_EQ(before, ring::kLatencyBuckets - 1) << "all of them are of use";
  EXPECT_EQ(ring::latency_bucket(~std::uint64_t{0}), ring::kLatencyBuckets - 1);
}

TEST(LatencyBuckets, ForgetWhatWasLongAgo) {
  ring::Latencies all{};
  for (std::uint32_t i = 0; i < 10 * ring::kMostSamples; ++i) ring::add_latency(all, 1'000'000);
  for (std::uint32_t i = 0; i < ring::kMostSamples; ++i) ring::add_latency(all, 100);
  const std::uint32_t old = all.buckets[ring::latency_bucket(1'000'000)].load();
  const std::uint32_t fresh = all.buckets[ring::latency_bucket(100)].load();
  EXPECT_LT(2 * old, fresh) << "the same number of fresh ones weighs more";
  EXPECT_GE(fresh, ring::kMostSamples / 4);
  EXPECT_LE(all.samples.load(), ring::kMostSamples);
}

/// How many of so many messages, one each `gap` nanoseconds, are samples.
std::uint64_t samples_of(ring::Sampler& sampler, std::uint64_t& count, std::uint64_t messages,
                         std::int64_t gap, std::int64_t& now) {
  std::uint64_t samples = 0;
  for (std::uint64_t end = count + messages; count < end; ++count, now += gap) {
    if (count < sampler.next()) continue;
    sampler.took(count, now);
    ++samples;
  }
  return samples;
}

TEST(Sampler, TakesAboutOneAMillisecondWhateverTheRate) {
  ring::Sampler sampler;
  std::uint64_t count = 77;
  std::int64_t now = 5 * kSecond;
  sampler.begin(count);
  EXPECT_EQ(samples_of(sampler, count, 10, 10'000'000, now), 10U) << "slow ones all";
  const std::uint64_t fast = samples_of(sampler, count, 10'000'000, 100, now);  // for a second
  EXPECT_GE(fast, 900U);
  EXPECT_LE(fast, 1100U);
  samples_of(sampler, count, 100'000, 10, now);
  EXPECT_GT(sampler.next(), count + 1000);
  sampler.slow(count);  // the burst is over
  EXPECT_LE(sampler.next(), count + 64);
  EXPECT_GE(samples_of(sampler, count, 100, 10'000'000, now), 10U);
}

/// The forms a queue can have.
struct Form {
  const char* name;
  std::uint32_t producers, consumers;
  bool cells;
};

class EveryFormTimed : public ::testing::TestWithParam<Form> {
 protected:
  static Queue make() {
    QueueSpec spec;
    spec.producers = GetParam().producers;
    spec.consumers = GetParam().consumers;
    if (GetParam().cells) spec.kind = QueueKind::kPriority;
    return Queue::create_in_memory(spec, "test").value();
  }
};
INSTANTIATE_TEST_SUITE_P(Forms, EveryFormTimed,
                         ::testing::Values(Form{"Stream", 1, 1, false},
                                           Form{"ClaimsOfConsumers", 1, 2, false},
                                           Form{"ClaimsOfProducers", 2, 1, false}, Form{"Cells", 1, 1, true}),
                         [](const auto& form) { return form.param.name; });

void pass(std::chrono::nanoseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < until) {
  }
}

/// Puts or takes by whichever way is open, as libmvm does.
void put(ring::End& end, std::uint64_t number) {
  if (end.is_stream() && end.quick_put(&number, sizeof number)) return;
  if (end.is_claims() && end.claims_quick_put(&number, sizeof number)) return;
  ASSERT_EQ(end.put(&number, sizeof number, 0, 0), MVM_OK);
}
std::uint64_t get(ring::End& end) {
  std::uint64_t number = ~std::uint64_t{0};
  if (end.is_stream() && end.quick_get(&number, sizeof number) >= 0) return number;
  if (end.is_claims() && end.claims_quick_get(&number, sizeof number) >= 0) return number;
  ring::View view;
  EXPECT_EQ(end.get(&number, sizeof number, view), MVM_OK);
  return number;
}

TEST_P(EveryFormTimed, TellsHowLongAMessageWasThere) {
  const Queue queue = make();
  EXPECT_EQ(queue.stats().latency_samples, 0U);
  EXPECT_EQ(queue.stats().latency_p99, 0ns);
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  const auto begin = std::chrono::steady_clock::now();
  put(producer, 1);
  pass(3ms);
  EXPECT_EQ(queue.stats().latency_samples, 0U) << "it has not left yet";
  EXPECT_EQ(get(consumer), 1U);
  const auto most = std::chrono::steady_clock::now() - begin;
  const QueueStats stats = queue.stats();
  EXPECT_EQ(stats.latency_samples, 1U);
  EXPECT_GE(stats.latency_p50, 3000us - 375us);
  EXPECT_LE(stats.latency_p50, most + most / 8);
  EXPECT_EQ(stats.latency_p50, stats.latency_p99);
  EXPECT_EQ(stats.bytes_enqueued, 8U);
  EXPECT_EQ(stats.bytes_dequeued, 8U);
}

TEST_P(EveryFormTimed, CountsUntilTheMessageIsReleasedNotUntilItIsTaken) {
  const Queue queue = make();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  std::byte* room = nullptr;
  ASSERT_EQ(producer.reserve(100, &room), MVM_OK);
  pass(2ms);  // not counted: nothing was committed
  const auto committed = std::chrono::steady_clock::now();
  ASSERT_EQ(producer.commit(100, 0, 0), MVM_OK);
  ring::View view;
  ASSERT_EQ(consumer.take(view), MVM_OK);
  pass(5ms);
  ASSERT_EQ(consumer.release(view.token), MVM_OK);
  const auto most = std::chrono::steady_clock::now() - committed;
  EXPECT_GE(queue.stats().latency_p50, 5000us - 625us);
  EXPECT_LE(queue.stats().latency_p50, most + most / 8 + 1ms);
}

TEST_P(EveryFormTimed, SamplesDoNotDisturbTheOrderOrTheBytes) {
  const Queue queue = make();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  std::uint64_t sent = 0;
  for (std::uint64_t received = 0; received < 200'000;) {
    for (std::uint64_t burst = 1 + sent % 300; burst > 0; --burst) put(producer, sent++);
    while (received < sent) ASSERT_EQ(get(consumer), received++);
  }
  const QueueStats stats = queue.stats();
  EXPECT_EQ(stats.enqueued, sent);
  EXPECT_EQ(stats.depth, 0U);
  EXPECT_EQ(stats.bytes, 0U);
  EXPECT_GT(stats.latency_samples, 5U);
  EXPECT_LT(stats.latency_samples, sent / 4) << "seldom, where messages are many";
  EXPECT_GE(stats.latency_p99, stats.latency_p50);
}

TEST_P(EveryFormTimed, AProducersSuccessorIsTimedToo) {
  const Queue queue = make();
  {
    ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
    put(producer, 0);  // a sample, never taken by the time its producer is gone
  }
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  put(producer, 1);
  EXPECT_EQ(get(consumer), 0U);
  EXPECT_EQ(get(consumer), 1U);
  for (std::uint64_t i = 2; i < 300; ++i) {
    put(producer, i);
    EXPECT_EQ(get(consumer), i);
  }
  EXPECT_GE(queue.stats().latency_samples, 2U);
}

TEST(Latency, LongMessagesAreTimedToo) {
  QueueSpec spec;
  spec.bytes = 1 << 20;
  const Queue queue = Queue::create_in_memory(spec, "test").value();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  const std::string sent(100'000, 'x');  // grows
  ASSERT_EQ(producer.put(sent.data(), sent.size(), 0, 0), MVM_OK);
  std::string received(sent.size(), ' ');
  ring::View view;
  ASSERT_EQ(consumer.get(received.data(), received.size(), view), MVM_OK);
  EXPECT_EQ(received, sent);
  EXPECT_EQ(queue.stats().latency_samples, 1U);
}

TEST(Latency, WhatAPeerScribblesThereHurtsNobody) {
  const Queue queue = Queue::create_in_memory({}, "test").value();
  ring::End producer = test::attach(queue, ring::Side::kProducer, 0);
  ring::End consumer = test::attach(queue, ring::Side::kConsumer, 0);
  ring::Slot& slot = producer.own();
  ring::Latencies& all = producer.region().latencies();
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    put(producer, i);
    slot.sample.store(i % 3 == 0 ? ~std::uint64_t{0} : i + 1);
    slot.sample_at.store(i % 2 == 0 ? INT64_MIN + 1 : INT64_MAX);
    if (i % 100 == 0) all.samples.store(~0U);
    all.buckets[i % ring::kLatencyBuckets].store(~0U);
    EXPECT_EQ(get(consumer), i);
  }
  EXPECT_GE(queue.stats().latency_p99, queue.stats().latency_p50);
}

}  // namespace
}  // namespace mvm::queuevm
