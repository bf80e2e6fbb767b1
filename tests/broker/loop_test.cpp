#include "mvm/broker/loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace mvm::broker {
namespace {

class RunLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    thread_ = std::thread([this] { loop_.run(); });
  }
  void TearDown() override {
    loop_.stop();
    thread_.join();
  }
  SystemClock clock_;
  RunLoop loop_{clock_};
  std::thread thread_;
};

TEST_F(RunLoopTest, RunsTasksInOrderOnOneThread) {
  std::vector<int> order;
  std::thread::id seen;
  for (int i = 0; i < 100; ++i) loop_.post([&order, i] { order.push_back(i); });
  ASSERT_TRUE(loop_.call([&] { seen = std::this_thread::get_id(); }));
  EXPECT_EQ(seen, thread_.get_id());
  ASSERT_EQ(order.size(), 100U);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(RunLoopTest, ACallFromInsideRunsAtOnce) {
  bool inner = false;
  ASSERT_TRUE(loop_.call([&] { inner = loop_.call([] {}); }));
  EXPECT_TRUE(inner);
}

TEST_F(RunLoopTest, TimersRunInTheOrderOfTheirTimes) {
  std::promise<void> last;
  std::vector<int> order;
  const auto now = clock_.now();
  const auto dropped = loop_.at(now + std::chrono::milliseconds(5), [&] { order.push_back(9); });
  loop_.cancel(dropped);
  loop_.at(now + std::chrono::milliseconds(20), [&] {
    order.push_back(2);
    last.set_value();
  });
  loop_.at(now + std::chrono::milliseconds(10), [&] { order.push_back(1); });
  last.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST_F(RunLoopTest, StoppingReleasesWhoeverWaitsForACall) {
  std::promise<void> inside;
  std::promise<void> go;
  loop_.post([&] {
    inside.set_value();
    go.get_future().wait();
  });
  inside.get_future().wait();
  std::atomic<int> answer{-1};
  std::promise<void> calling;
  std::thread caller([&] {
    calling.set_value();
    answer = loop_.call([] {}) ? 1 : 0;
  });
  calling.get_future().wait();
  loop_.stop();
  go.set_value();
  caller.join();
  EXPECT_EQ(answer, 0);
  EXPECT_FALSE(loop_.call([] {}));
}

TEST(PoolExecutor, RunsMoreThanThePoolHolds) {
  ThreadPool pool({.minimum = 1, .maximum = 2, .queue = 1, .idle_timeout = std::chrono::seconds(1)});
  PoolExecutor executor(pool);
  std::promise<void> all;
  std::atomic<int> done{0};
  for (int i = 0; i < 200; ++i)
    executor.run([&] {
      if (++done == 200) all.set_value();
    });
  all.get_future().wait();
  EXPECT_EQ(done, 200);
}

TEST(PoolExecutor, DestructionWaitsForWhatHasBegun) {
  ThreadPool pool({.minimum = 1, .maximum = 2, .queue = 4, .idle_timeout = std::chrono::seconds(1)});
  std::atomic<bool> ended{false};
  std::promise<void> begun;
  std::promise<void> go;
  std::thread releaser;
  {
    PoolExecutor executor(pool);
    executor.run_long([&] {
      begun.set_value();
      go.get_future().wait();
      ended = true;
    });
    begun.get_future().wait();
    releaser = std::thread([&] { go.set_value(); });
  }
  EXPECT_TRUE(ended);
  releaser.join();
}

}  // namespace
}  // namespace mvm::broker
