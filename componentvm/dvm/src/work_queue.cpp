#include "work_queue.h"

#include "mvm/base/log.h"

namespace mvm::dvm {

void WorkQueue::add(Job job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    if (working_) return;
    working_ = true;
  }
  if (Status submitted = submit_([this] { work_off(); }); !submitted) {
    log::error("dvm.no-thread", {{"reason", submitted.error().message()}});
    const std::lock_guard lock(mutex_);
    working_ = false;
    jobs_.clear();
    ended_.notify_all();
  }
}

void WorkQueue::work_off() {
  std::unique_lock lock(mutex_);
  while (!jobs_.empty()) {
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
  working_ = false;
  ended_.notify_all();
}

void WorkQueue::end() {
  std::unique_lock lock(mutex_);
  jobs_.clear();
  ended_.wait(lock, [&] { return !working_; });
}

}  // namespace mvm::dvm
