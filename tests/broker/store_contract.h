#pragma once
// What every provider of the store must do. A provider's test instantiates it with a factory that can reopen
// the same store.

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "fakes/manual_clock.h"
#include "mvm/broker/store.h"

namespace mvm::broker {

/// A store that can be closed and opened again.
class StoreFixture {
 public:
  virtual ~StoreFixture() = default;
  virtual Store& store() = 0;
  virtual void reopen() = 0;
  fakes::ManualClock clock;
};

using StoreFactory = std::function<std::unique_ptr<StoreFixture>()>;

class StoreContract : public ::testing::TestWithParam<StoreFactory> {
 protected:
  void SetUp() override { fixture_ = GetParam()(); }
  Store& store() { return fixture_->store(); }
  std::unique_ptr<StoreFixture> fixture_;
};

TEST_P(StoreContract, KeepsWhatWasCommittedOverReopening) {
  const auto first = store().commit({put("a", "1"), put("b", std::string("\0x", 2))});
  ASSERT_TRUE(first);
  fixture_->reopen();
  const auto a = store().get("a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->value, "1");
  EXPECT_EQ(a->version, 1U);
  EXPECT_EQ(a->revision, *first);
  EXPECT_EQ(store().get("b")->value, std::string("\0x", 2));
  EXPECT_EQ(*store().revision(), *first);
  EXPECT_EQ(store().get("c").error().code(), ErrorCode::kNotFound);
}

TEST_P(StoreContract, CountsVersionsPerKeyAndRevisionsPerCommit) {
  const auto first = *store().commit({put("a", "1")});
  const auto second = *store().commit({put("a", "2"), put("b", "1")});
  EXPECT_GT(second, first);
  EXPECT_EQ(store().get("a")->version, 2U);
  EXPECT_EQ(store().get("b")->version, 1U);
  ASSERT_TRUE(store().commit({erase("a")}));
  ASSERT_TRUE(store().commit({put("a", "3")}));
  EXPECT_EQ(store().get("a")->version, 1U) << "a key made again starts again";
}

TEST_P(StoreContract, ABrokenExpectationChangesNothing) {
  ASSERT_TRUE(store().commit({put("a", "1")}));
  const auto before = *store().revision();
  for (const Batch& batch : {Batch{put("b", "x"), put("a", "2", 7)}, Batch{put("b", "x"), put("a", "2", 0)},
                             Batch{put("b", "x"), check("a", 2)}, Batch{put("b", "x"), erase("a", 3)},
                             Batch{put("b", "x"), check("missing", 1)}}) {
    const auto result = store().commit(batch);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::kConflict);
  }
  EXPECT_EQ(*store().revision(), before);
  EXPECT_FALSE(store().get("b"));
  EXPECT_TRUE(store().commit({check("a", 1), check("missing", 0), put("b", "y", 0)}));
  EXPECT_EQ(store().get("b")->value, "y");
}

TEST_P(StoreContract, RefusesWhatBreaksALimit) {
  Batch large;
  for (std::size_t i = 0; i <= kMaxBatch; ++i) large.push_back(put("k" + std::to_string(i), ""));
  for (const Batch& batch :
       {Batch{}, large, Batch{put("", "x")}, Batch{put(std::string(kMaxKey + 1, 'k'), "x")},
        Batch{put("a", std::string(kMaxValue + 1, 'v'))}, Batch{put("a", "1"), erase("a")}}) {
    const auto result = store().commit(batch);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::kInvalid);
  }
  EXPECT_EQ(*store().revision(), 0U);
  large.pop_back();
  EXPECT_TRUE(store().commit(large));
  EXPECT_TRUE(store().commit({put(std::string(kMaxKey, 'k'), std::string(kMaxValue, 'v'))}));
}

TEST_P(StoreContract, ListsByPrefixInByteOrderPageByPage) {
  ASSERT_TRUE(store().commit({put("jobs/2", "b"), put("jobs/10", "a"), put("jobs0", "no"), put("job", "no"),
                              put("jobs/\xff\xff", "z"), put("jobs/", "first")}));
  const auto all = *store().list("jobs/");
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].key, "jobs/");
  EXPECT_EQ(all[1].key, "jobs/10");
  EXPECT_EQ(all[2].key, "jobs/2");
  EXPECT_EQ(all[3].key, "jobs/\xff\xff");
  const auto page = *store().list("jobs/", "jobs/10", 1);
  ASSERT_EQ(page.size(), 1U);
  EXPECT_EQ(page[0].key, "jobs/2");
  EXPECT_EQ(store().list("jobs/", "jobs/\xff\xff")->size(), 0U);
  EXPECT_EQ(store().list("")->size(), 6U) << "no prefix: all";
}

TEST_P(StoreContract, SeveralBatchesStandAlone) {
  const auto results =
      store().commit_all({{put("a", "1", 0)}, {put("b", "1"), put("a", "2", 0)}, {put("c", "1")}});
  ASSERT_EQ(results.size(), 3U);
  EXPECT_TRUE(results[0]);
  EXPECT_EQ(results[1].error().code(), ErrorCode::kConflict);
  EXPECT_TRUE(results[2]);
  EXPECT_LT(*results[0], *results[2]);
  fixture_->reopen();
  EXPECT_TRUE(store().get("a"));
  EXPECT_FALSE(store().get("b"));
  EXPECT_TRUE(store().get("c"));
}

TEST_P(StoreContract, WatchersSeeLaterChangesInOrder) {
  ASSERT_TRUE(store().commit({put("w/old", "0")}));
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> seen;
  auto watch = store().watch("w/", [&](const std::vector<Change>& changes) {
    const std::lock_guard lock(mutex);
    for (const auto& change : changes)
      seen.push_back(change.entry.key + (change.erased ? "-" : "=" + change.entry.value));
    changed.notify_all();
  });
  ASSERT_TRUE(watch);
  ASSERT_TRUE(store().commit({put("w/a", "1"), put("x", "1")}));
  ASSERT_FALSE(store().commit({put("w/a", "9", 9)}));
  ASSERT_TRUE(store().commit({put("w/a", "2")}));
  ASSERT_TRUE(store().commit({erase("w/a"), erase("w/never")}));
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return seen.size() >= 3; }));
    EXPECT_EQ(seen, (std::vector<std::string>{"w/a=1", "w/a=2", "w/a-"}));
  }
  watch->reset();
  ASSERT_TRUE(store().commit({put("w/b", "1")}));
  EXPECT_EQ(seen.size(), 3U);
}

TEST_P(StoreContract, KeysOfALeaseGoWithIt) {
  const auto lease = store().grant(std::chrono::seconds(10));
  ASSERT_TRUE(lease);
  Operation alive = put("alive/a", "yes");
  alive.lease = *lease;
  ASSERT_TRUE(store().commit({alive, put("stays", "yes")}));
  fixture_->clock.advance(std::chrono::seconds(9));
  ASSERT_TRUE(store().keep_alive(*lease));
  fixture_->clock.advance(std::chrono::seconds(9));
  EXPECT_TRUE(store().get("alive/a"));
  fixture_->clock.advance(std::chrono::seconds(2));
  EXPECT_FALSE(store().get("alive/a"));
  EXPECT_TRUE(store().get("stays"));
  EXPECT_EQ(store().keep_alive(*lease).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(store().commit({alive})) << "nothing can be hung on an ended lease";

  const auto other = *store().grant(std::chrono::seconds(10));
  alive.lease = other;
  ASSERT_TRUE(store().commit({alive}));
  fixture_->reopen();
  EXPECT_TRUE(store().get("alive/a")) << "a lease outlives the process that opened the store";
  ASSERT_TRUE(store().revoke(other));
  EXPECT_FALSE(store().get("alive/a"));
  EXPECT_TRUE(store().revoke(other));
}

TEST_P(StoreContract, ManyThreadsNeverBothWin) {
  ASSERT_TRUE(store().commit({put("counter", "0")}));
  constexpr int kThreads = 4;
  constexpr int kEach = 25;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kEach;) {
        const auto now = store().get("counter");
        if (store().commit({put("counter", std::to_string(std::stoi(now->value) + 1), now->version)})) ++i;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(store().get("counter")->value, std::to_string(kThreads * kEach));
}

}  // namespace mvm::broker
