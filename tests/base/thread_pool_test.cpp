#include "mvm/base/thread_pool.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <latch>

namespace mvm {
namespace {

TEST(ThreadPoolTest, RunsEveryJobBeforeItIsDestroyed) {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool({.minimum = 2, .maximum = 4, .queue = 8});
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(pool.submit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, 1000);
}

TEST(ThreadPoolTest, GrowsToTheMaximumThenQueuesThenRefuses) {
  std::promise<void> gate;
  const std::shared_future<void> open = gate.get_future().share();
  ThreadPool pool({.minimum = 1, .maximum = 2, .queue = 3});
  std::latch busy(2);
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(pool.submit([&, open] {
      busy.count_down();
      open.wait();
    }));
  busy.wait();
  EXPECT_EQ(pool.threads(), 2U);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool.try_submit([] {}));
  EXPECT_EQ(pool.try_submit([] {}).error().code(), ErrorCode::kExhausted);
  ASSERT_TRUE(pool.adjust({.minimum = 1, .maximum = 3, .queue = 3}));
  ASSERT_TRUE(pool.submit([] {})) << "a larger maximum makes room";
  gate.set_value();
}

TEST(ThreadPoolTest, RefusesBoundsThatCannotHold) {
  ThreadPool pool({.minimum = 1, .maximum = 2});
  EXPECT_EQ(pool.adjust({.minimum = 3, .maximum = 2}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(pool.adjust({.minimum = 0, .maximum = 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(pool.limits().maximum, 2U);
}

TEST(ThreadPoolTest, AJobMaySubmitAJob) {
  std::promise<int> answer;
  ThreadPool pool({.minimum = 1, .maximum = 1, .queue = 4});
  ASSERT_TRUE(pool.submit([&] {
    auto submitted = pool.try_submit([&] { answer.set_value(42); });
    if (!submitted) answer.set_value(-1);
  }));
  EXPECT_EQ(answer.get_future().get(), 42);
}

}  // namespace
}  // namespace mvm
