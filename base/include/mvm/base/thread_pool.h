#pragma once
// Thread pool of the Harness kernel [Engelmann & Geist, lightweight kernel, §2.2].

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "mvm/base/result.h"

namespace mvm {

/// Bounds of a pool, all adjustable while it runs.
struct ThreadPoolLimits {
  std::size_t minimum = 1;                         ///< threads kept even when idle
  std::size_t maximum = 8;                         ///< never more threads than this
  std::size_t queue = 256;                         ///< jobs waiting once all threads are busy
  std::chrono::milliseconds idle_timeout{10'000};  ///< an idle thread above the minimum leaves after this
};

/// Runs jobs on threads. A new thread is made for a job when none is idle and the maximum is not reached;
/// beyond that jobs wait in a queue of fixed length, and submitting blocks when it is full.
/// Every method may be called from any thread, from inside a job too.
class ThreadPool {
 public:
  using Job = std::function<void()>;
  explicit ThreadPool(ThreadPoolLimits limits);
  /// Refuses new jobs, runs those already queued, joins the threads.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Blocks while the queue is full. kCancelled once the pool is being destroyed.
  [[nodiscard]] Status submit(Job job);
  /// Never blocks: kExhausted where the queue is full.
  [[nodiscard]] Status try_submit(Job job);
  /// New bounds; kInvalid unless 1 <= maximum and minimum <= maximum. Threads above the new maximum leave
  /// when their job ends.
  [[nodiscard]] Status adjust(ThreadPoolLimits limits);

  [[nodiscard]] ThreadPoolLimits limits() const;
  [[nodiscard]] std::size_t threads() const;
  [[nodiscard]] std::size_t queued() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace mvm
