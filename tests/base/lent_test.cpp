// What is lent is there while anybody uses it, and gone when its owner has it back.
#include "mvm/base/lent.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>

namespace mvm {
namespace {

struct Thing {
  explicit Thing(std::atomic<int>& there) : there_(there) { ++there_; }
  ~Thing() { --there_; }
  Thing(const Thing&) = delete;
  Thing& operator=(const Thing&) = delete;

 private:
  std::atomic<int>& there_;
};

TEST(Lent, IsTakenBackWhenTheLastHasLetItGo) {
  std::atomic<int> there = 0;
  Lent<Thing> lent;
  EXPECT_EQ(lent.borrow(), nullptr);
  EXPECT_FALSE(lent.take_back([](Thing&) { ADD_FAILURE(); }));
  lent.lend(std::make_unique<Thing>(there));
  auto borrowed = lent.borrow();
  ASSERT_NE(borrowed, nullptr);
  std::promise<void> told;
  auto stopped = told.get_future();
  std::atomic<bool> back = false;
  std::thread owner([&] {
    EXPECT_TRUE(lent.take_back([&](Thing&) { told.set_value(); }));
    back = true;
  });
  stopped.wait();
  EXPECT_EQ(lent.borrow(), nullptr) << "nobody else gets it";
  EXPECT_EQ(there, 1);
  EXPECT_FALSE(back);
  borrowed.reset();
  owner.join();
  EXPECT_TRUE(back);
  EXPECT_EQ(there, 0);
  lent.lend(std::make_unique<Thing>(there));
  EXPECT_EQ(there, 1) << "and again";
}

}  // namespace
}  // namespace mvm
