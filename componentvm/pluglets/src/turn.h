#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace mvm::pluglets {

/// A lock that can be waited for with a time limit, for std::lock_guard and std::unique_lock. Unlike
/// std::timed_mutex, which g++ 12's thread sanitizer does not know, it is made of what every tool
/// understands.
class Turn {
 public:
  // NOLINTBEGIN(readability-identifier-naming): the names the standard's locks ask for.
  void lock() {
    std::unique_lock lock(mutex_);
    free_.wait(lock, [this] { return !taken_; });
    taken_ = true;
  }
  template <typename Rep, typename Period>
  bool try_lock_for(std::chrono::duration<Rep, Period> patience) {
    std::unique_lock lock(mutex_);
    if (!free_.wait_for(lock, patience, [this] { return !taken_; })) return false;
    return taken_ = true;
  }
  void unlock() {
    // Told while the lock is held: whoever waited may destroy this as soon as it has the turn.
    const std::lock_guard lock(mutex_);
    taken_ = false;
    free_.notify_one();
  }
  // NOLINTEND(readability-identifier-naming)

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  bool taken_ = false;
};

}  // namespace mvm::pluglets
