#pragma once
// A loop and an executor stepped by hand, on one thread: what a broker does is the same in every run.

#include <deque>
#include <map>
#include <utility>

#include "mvm/broker/loop.h"

namespace mvm::fakes {

class ManualLoop final : public broker::Loop {
 public:
  explicit ManualLoop(Clock& clock) : clock_(clock) {}
  void post(broker::Task task) override { tasks_.push_back(std::move(task)); }
  Timer at(Clock::Instant when, broker::Task task) override {
    timers_.emplace(when, std::make_pair(++last_, std::move(task)));
    return last_;
  }
  void cancel(Timer timer) override {
    std::erase_if(timers_, [&](const auto& entry) { return entry.second.first == timer; });
  }
  bool call(const broker::Task& task) override {
    task();
    return true;
  }

  /// Runs one task, or one timer whose time has come; false: there is none.
  bool step() {
    if (!timers_.empty() && timers_.begin()->first <= clock_.now()) {
      auto task = std::move(timers_.begin()->second.second);
      timers_.erase(timers_.begin());
      task();
      return true;
    }
    if (tasks_.empty()) return false;
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    task();
    return true;
  }
  void clear() {
    tasks_.clear();
    timers_.clear();
  }

 private:
  Clock& clock_;
  std::deque<broker::Task> tasks_;
  std::multimap<Clock::Instant, std::pair<Timer, broker::Task>> timers_;
  Timer last_ = 0;
};

class ManualExecutor final : public broker::Executor {
 public:
  void run(broker::Task job) override { jobs_.push_back(std::move(job)); }
  void run_long(broker::Task job) override { long_.push_back(std::move(job)); }

  bool step() {
    if (jobs_.empty()) return false;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    job();
    return true;
  }
  /// Lets everybody who polls look once.
  void step_long() {
    for (auto& job : std::exchange(long_, {})) job();
  }
  [[nodiscard]] bool polls() const { return !long_.empty(); }
  void clear() {
    jobs_.clear();
    long_.clear();
  }

 private:
  std::deque<broker::Task> jobs_;
  std::deque<broker::Task> long_;
};

}  // namespace mvm::fakes
