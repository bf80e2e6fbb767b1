#pragma once
// Where the broker's state changes (one loop, one thread) and where its blocking calls run (an executor).
// Tests put in a loop and an executor that they step by hand.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "mvm/base/clock.h"
#include "mvm/base/thread_pool.h"

namespace mvm::broker {

using Task = std::function<void()>;

/// Runs tasks one after the other. post, at, cancel and call may be used from any thread.
class Loop {
 public:
  using Timer = std::uint64_t;
  virtual ~Loop() = default;
  virtual void post(Task task) = 0;
  /// Runs the task at that time or soon after.
  virtual Timer at(Clock::Instant when, Task task) = 0;
  /// Forgets a timer; no error if it has run.
  virtual void cancel(Timer timer) = 0;
  /// Runs the task on the loop and waits until it has run; at once where the caller is on the loop. False:
  /// the loop has stopped, and the task did not run.
  [[nodiscard]] virtual bool call(const Task& task) = 0;
};

/// A loop that some thread lends itself to.
class RunLoop final : public Loop {
 public:
  explicit RunLoop(Clock& clock) : clock_(clock) {}
  /// Runs tasks on the calling thread until stop(). Once.
  void run();
  /// Ends run() after the task at hand; tasks still waiting are dropped. Any thread.
  void stop();

  void post(Task task) override;
  Timer at(Clock::Instant when, Task task) override;
  void cancel(Timer timer) override;
  [[nodiscard]] bool call(const Task& task) override;

 private:
  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  std::multimap<Clock::Instant, std::pair<Timer, Task>> timers_;
  Timer last_timer_ = 0;
  bool stopped_ = false;
  std::thread::id thread_;
};

/// Runs blocking jobs somewhere else. Never blocks the caller.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void run(Task job) = 0;
  /// A job that waits for the world most of its time (a long poll).
  virtual void run_long(Task job) = 0;
};

/// Jobs on a thread pool; beyond its queue they wait here. Long ones have a thread each. Destroying it waits
/// for the long ones, and drops what has not begun.
class PoolExecutor final : public Executor {
 public:
  explicit PoolExecutor(ThreadPool& pool);
  ~PoolExecutor() override;
  void run(Task job) override;
  void run_long(Task job) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace mvm::broker
