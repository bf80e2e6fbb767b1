#include "mvm/broker/loop.h"

#include <utility>

namespace mvm::broker {

void RunLoop::run() {
  std::unique_lock lock(mutex_);
  thread_ = std::this_thread::get_id();
  while (!stopped_) {
    if (!timers_.empty() && timers_.begin()->first <= clock_.now()) {
      Task task = std::move(timers_.begin()->second.second);
      timers_.erase(timers_.begin());
      tasks_.push_back(std::move(task));
    }
    if (!tasks_.empty()) {
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
      continue;
    }
    if (timers_.empty())
      changed_.wait(lock);
    else
      changed_.wait_until(lock, timers_.begin()->first);
  }
  tasks_.clear();
  timers_.clear();
  changed_.notify_all();
}

void RunLoop::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

void RunLoop::post(Task task) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  tasks_.push_back(std::move(task));
  changed_.notify_all();
}

Loop::Timer RunLoop::at(Clock::Instant when, Task task) {
  const std::lock_guard lock(mutex_);
  const Timer id = ++last_timer_;
  if (stopped_) return id;
  timers_.emplace(when, std::make_pair(id, std::move(task)));
  changed_.notify_all();
  return id;
}

void RunLoop::cancel(Timer timer) {
  const std::lock_guard lock(mutex_);
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->second.first != timer) continue;
    timers_.erase(it);
    return;
  }
}

namespace {

/// What a waiting caller shares with its task, which the loop may drop without running it.
class Ticket {
 public:
  void settle(bool ran) {
    const std::lock_guard lock(mutex_);
    if (settled_) return;
    settled_ = true;
    ran_ = ran;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return settled_; });
    return ran_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool settled_ = false;
  bool ran_ = false;
};

}  // namespace

bool RunLoop::call(const Task& task) {
  bool inside = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return false;
    inside = thread_ == std::this_thread::get_id();
  }
  if (inside) {
    task();
    return true;
  }
  auto ticket = std::make_shared<Ticket>();
  std::shared_ptr<void> dropped(nullptr, [ticket](void*) { ticket->settle(false); });
  post([ticket, dropped = std::move(dropped), &task] {
    task();
    ticket->settle(true);
  });
  return ticket->wait();
}

// ---- executor

struct PoolExecutor::State {
  std::mutex mutex;
  std::condition_variable changed;
  ThreadPool* pool = nullptr;
  std::deque<Task> overflow;
  std::size_t queued = 0;     ///< in the pool, not begun
  std::size_t in_flight = 0;  ///< begun
  std::size_t long_running = 0;
  bool stopping = false;

  static void submit(const std::shared_ptr<State>& state, Task job);
  static void work(const std::shared_ptr<State>& state, Task job);
};

void PoolExecutor::State::work(const std::shared_ptr<State>& state, Task job) {
  for (;;) {
    {
      const std::lock_guard lock(state->mutex);
      if (state->stopping) return;
      ++state->in_flight;
    }
    job();
    job = nullptr;
    const std::lock_guard lock(state->mutex);
    --state->in_flight;
    state->changed.notify_all();
    if (state->overflow.empty() || state->stopping) return;
    job = std::move(state->overflow.front());
    state->overflow.pop_front();
  }
}

void PoolExecutor::State::submit(const std::shared_ptr<State>& state, Task job) {
  const std::lock_guard lock(state->mutex);
  if (state->stopping) return;
  if (state->overflow.empty()) {
    auto shared = std::make_shared<Task>(std::move(job));
    if (state->pool->try_submit([state, shared] { work(state, std::move(*shared)); })) return;
    job = std::move(*shared);
  }
  // The pool's queue is full, so jobs are under way; whoever ends one takes this.
  state->overflow.push_back(std::move(job));
}

PoolExecutor::PoolExecutor(ThreadPool& pool) : state_(std::make_shared<State>()) { state_->pool = &pool; }

PoolExecutor::~PoolExecutor() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->overflow.clear();
  state_->changed.wait(lock, [&] { return state_->long_running == 0 && state_->in_flight == 0; });
}

void PoolExecutor::run(Task job) { State::submit(state_, std::move(job)); }

void PoolExecutor::run_long(Task job) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping) return;
    ++state_->long_running;
  }
  std::thread([state = state_, job = std::move(job)]() mutable {
    job();
    job = nullptr;
    const std::lock_guard lock(state->mutex);
    --state->long_running;
    state->changed.notify_all();
  }).detach();
}

}  // namespace mvm::broker
