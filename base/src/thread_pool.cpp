#include "mvm/base/thread_pool.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "mvm/base/assert.h"

namespace mvm {

/// Threads hold the state by shared_ptr and are detached: the last one to leave wakes the destructor.
struct ThreadPool::State {
  mutable std::mutex mutex;
  std::condition_variable work;  // a job came, or the bounds changed, or the pool ends
  std::condition_variable room;  // the queue has room again
  std::condition_variable gone;  // a thread left
  std::deque<Job> queue;
  ThreadPoolLimits limits;
  std::size_t threads = 0;
  std::size_t idle = 0;
  bool ending = false;
};

namespace {

template <class State>
bool take_job(State& state, std::unique_lock<std::mutex>& lock, ThreadPool::Job& job) {
  const auto woken = [&] {
    return !state.queue.empty() || state.ending || state.threads > state.limits.maximum;
  };
  for (;;) {
    if (!state.queue.empty()) {
      job = std::move(state.queue.front());
      state.queue.pop_front();
      state.room.notify_one();
      return true;
    }
    if (state.ending || state.threads > state.limits.maximum) return false;
    ++state.idle;
    const bool signalled = state.work.wait_for(lock, state.limits.idle_timeout, woken);
    --state.idle;
    if (!signalled && state.threads > state.limits.minimum) return false;
  }
}

template <class State>
void work(std::shared_ptr<State> state) {
  std::unique_lock lock(state->mutex);
  ThreadPool::Job job;
  while (take_job(*state, lock, job)) {
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
    if (state->threads > state->limits.maximum) break;
  }
  --state->threads;
  state->gone.notify_all();
}

template <class State>
void add_thread(const std::shared_ptr<State>& state) {
  ++state->threads;
  std::thread([state] { work(state); }).detach();
}

/// Called with the lock held and room in the queue, or a thread to spare.
template <class State>
void enqueue(const std::shared_ptr<State>& state, ThreadPool::Job job) {
  state->queue.push_back(std::move(job));
  if (state->idle < state->queue.size() && state->threads < state->limits.maximum) add_thread(state);
  state->work.notify_one();
}

template <class State>
bool has_room(const State& state) {
  return state.queue.size() < state.limits.queue + state.idle || state.threads < state.limits.maximum;
}

}  // namespace

ThreadPool::ThreadPool(ThreadPoolLimits limits) : state_(std::make_shared<State>()) {
  MVM_ASSERT(limits.maximum >= 1 && limits.minimum <= limits.maximum);
  state_->limits = limits;
  const std::lock_guard lock(state_->mutex);
  for (std::size_t i = 0; i < limits.minimum; ++i) add_thread(state_);
}

ThreadPool::~ThreadPool() {
  std::unique_lock lock(state_->mutex);
  state_->ending = true;
  state_->work.notify_all();
  state_->room.notify_all();
  state_->gone.wait(lock, [&] { return state_->threads == 0; });
}

Status ThreadPool::submit(Job job) {
  std::unique_lock lock(state_->mutex);
  state_->room.wait(lock, [&] { return state_->ending || has_room(*state_); });
  if (state_->ending) return Error(ErrorCode::kCancelled, "the thread pool is stopping");
  enqueue(state_, std::move(job));
  return ok();
}

Status ThreadPool::try_submit(Job job) {
  const std::lock_guard lock(state_->mutex);
  if (state_->ending) return Error(ErrorCode::kCancelled, "the thread pool is stopping");
  if (!has_room(*state_)) return Error(ErrorCode::kExhausted, "the thread pool's queue is full");
  enqueue(state_, std::move(job));
  return ok();
}

Status ThreadPool::adjust(ThreadPoolLimits limits) {
  if (limits.maximum < 1 || limits.minimum > limits.maximum)
    return Error(ErrorCode::kInvalid, "thread pool bounds: found minimum " + std::to_string(limits.minimum) +
                                          " and maximum " + std::to_string(limits.maximum) +
                                          ", expected 1 <= maximum and minimum <= maximum");
  const std::lock_guard lock(state_->mutex);
  state_->limits = limits;
  while (state_->threads < limits.minimum) add_thread(state_);
  while (state_->idle < state_->queue.size() && state_->threads < limits.maximum) add_thread(state_);
  state_->work.notify_all();
  state_->room.notify_all();
  return ok();
}

ThreadPoolLimits ThreadPool::limits() const {
  const std::lock_guard lock(state_->mutex);
  return state_->limits;
}

std::size_t ThreadPool::threads() const {
  const std::lock_guard lock(state_->mutex);
  return state_->threads;
}

std::size_t ThreadPool::queued() const {
  const std::lock_guard lock(state_->mutex);
  return state_->queue.size();
}

}  // namespace mvm
