#pragma once
// Work for the kernel's pool, in order, one at a time. Not on a thread of ours: an idle kernel has one.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "mvm/base/result.h"

namespace mvm::dvm {

class WorkQueue {
 public:
  using Job = std::function<void()>;
  explicit WorkQueue(std::function<Status(Job)> submit) : submit_(std::move(submit)) {}
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  void add(Job job);
  /// Forgets what waits, and returns when nothing runs.
  void end();

 private:
  void work_off();

  const std::function<Status(Job)> submit_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::deque<Job> jobs_;
  bool working_ = false;
};

}  // namespace mvm::dvm
