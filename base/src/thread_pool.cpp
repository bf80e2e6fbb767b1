#include "mvm/base/thread_pool.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "mvm/base/assert.h"

namespace mvm {
namespace {

constexpr std::size_t kLine = 64;         // a cache line
constexpr std::size_t kMostRings = 40;    // each twice as long as the one before
constexpr std::size_t kOvershoot = 64;    // submitters that find room at the same moment
constexpr int kQuick = 64;                // pauses of a thread that has done a job, before it counts as idle
constexpr int kPauses = 600;              // of an idle thread, before it sleeps
constexpr int kFull = 2000;               // of a submitter that found the queue full, before it sleeps
constexpr std::size_t kMostSpinning = 2;  // idle threads that look for work; others sleep
constexpr std::chrono::milliseconds kLookAgain{1};  // of a submitter that found the queue full

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// A queue between many producers and many consumers without locks: each cell says whose turn it is [D.
/// Vyukov, bounded MPMC queue].
class Ring {
 public:
  explicit Ring(std::size_t capacity) : mask_(capacity - 1), cells_(capacity) {
    for (std::size_t i = 0; i < capacity; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t capacity() const { return mask_ + 1; }
  /// Takes the job only where it succeeds.
  bool push(ThreadPool::Job& job) {
    std::size_t at = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[at & mask_];
      const std::size_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at) {
        if (!tail_.compare_exchange_weak(at, at + 1, std::memory_order_seq_cst, std::memory_order_relaxed))
          continue;
        cell.job = std::move(job);
        cell.turn.store(at + 1, std::memory_order_release);
        return true;
      }
      if (turn < at) return false;  // full
      at = tail_.load(std::memory_order_relaxed);
    }
  }
  bool pop(ThreadPool::Job& job) {
    std::size_t at = head_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[at & mask_];
      const std::size_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at + 1) {
        if (!head_.compare_exchange_weak(at, at + 1, std::memory_order_seq_cst, std::memory_order_relaxed))
          continue;
        job = std::move(cell.job);
        cell.job = nullptr;
        cell.turn.store(at + mask_ + 1, std::memory_order_release);
        return true;
      }
      if (turn <= at) return false;  // empty, or its producer is about to fill it
      at = head_.load(std::memory_order_relaxed);
    }
  }
  /// True where there are surely fewer than `limit`, by what was seen of the consumers last.
  bool surely_below(std::size_t limit) {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    return tail - seen_head_.load(std::memory_order_relaxed) < limit;
  }
  void look_at_head() { seen_head_.store(head_.load(std::memory_order_relaxed), std::memory_order_relaxed); }
  [[nodiscard]] std::size_t size() const {
    const std::size_t head = head_.load(std::memory_order_seq_cst);
    const std::size_t tail = tail_.load(std::memory_order_seq_cst);
    return tail > head ? tail - head : 0;
  }

 private:
  struct alignas(kLine) Cell {
    std::atomic<std::size_t> turn = 0;
    ThreadPool::Job job;
  };
  const std::size_t mask_;
  std::vector<Cell> cells_;
  alignas(kLine) std::atomic<std::size_t> tail_ = 0;
  std::atomic<std::size_t> seen_head_ = 0;  // producers look at the consumers' line only now and then
  alignas(kLine) std::atomic<std::size_t> head_ = 0;
};

}  // namespace

/// Threads hold the state by shared_ptr and are detached: the last one to leave wakes the destructor.
///
/// A thread is busy, awake (idle, and looking for work) or asleep. Whoever pushes a job looks afterwards
/// whether there are threads awake for all that waits, and if not, wakes or makes one; a thread that ceases
/// to be awake does the same. Both orders are sequentially consistent, so one of the two sees the other.
struct ThreadPool::State : std::enable_shared_from_this<State> {
  explicit State(ThreadPoolLimits bounds) { set(bounds); }

  // ---- submitting
  Status submit(Job job, bool wait);
  [[nodiscard]] bool has_room();
  void hire();

  // ---- working
  void work();
  bool next(Job& job);
  bool look(Job& job);
  bool sleep(std::unique_lock<std::mutex>& lock);
  bool pop(Job& job);
  void made_room();
  void add_thread();

  [[nodiscard]] std::size_t queued() const {
    std::size_t sum = 0;
    for (std::size_t i = 0, count = rings.load(std::memory_order_acquire); i < count; ++i)
      sum += ring[i]->size();
    return sum;
  }
  void set(ThreadPoolLimits bounds);

  // Read by everybody, written by adjust().
  std::array<std::unique_ptr<Ring>, kMostRings> ring;  // the last is filled; the others are emptied first
  std::atomic<std::size_t> rings = 0;
  std::atomic<std::size_t> maximum = 1, queue = 0;
  std::atomic<bool> ending = false;
  alignas(kLine) std::atomic<std::size_t> awake = 0;
  alignas(kLine) std::atomic<std::size_t> asleep = 0;  // and not called
  std::atomic<std::size_t> threads = 0;
  std::atomic<std::size_t> waiting = 0;  // submitters

  mutable std::mutex mutex;       // of what follows, and of every change of `asleep` and `threads`
  std::condition_variable work_;  // somebody is called, or the bounds changed, or the pool ends
  std::condition_variable room;   // for submitters
  std::condition_variable gone;   // a thread left
  std::size_t left = 0, hired = 0;
  std::size_t called = 0;  // sleepers that are to wake; they count as awake already
  ThreadPoolLimits limits;
};

/// Called with the mutex, or before there are threads.
void ThreadPool::State::set(ThreadPoolLimits bounds) {
  const std::size_t need = std::bit_ceil(bounds.queue + bounds.maximum + kOvershoot);
  const std::size_t count = rings.load();
  if (count == 0 || (ring[count - 1]->capacity() < need && count < kMostRings)) {
    ring[count] = std::make_unique<Ring>(need);
    rings.store(count + 1, std::memory_order_release);
  }
  limits = bounds;
  maximum.store(bounds.maximum);
  queue.store(bounds.queue);
}

bool ThreadPool::State::has_room() {
  const std::size_t limit = queue.load(std::memory_order_relaxed);
  const std::size_t count = rings.load(std::memory_order_acquire);
  if (count == 1 && ring[0]->surely_below(limit)) return true;
  ring[count - 1]->look_at_head();
  const std::size_t waits = queued();
  return waits < queue.load(std::memory_order_relaxed) + awake.load(std::memory_order_relaxed) +
                     asleep.load(std::memory_order_relaxed) ||
         threads.load(std::memory_order_relaxed) < maximum.load(std::memory_order_relaxed);
}

bool ThreadPool::State::pop(Job& job) {
  for (std::size_t i = 0, count = rings.load(std::memory_order_acquire); i < count; ++i)
    if (ring[i]->pop(job)) return true;
  return false;
}

/// Called with the mutex held.
void ThreadPool::State::add_thread() {
  ++threads;
  ++awake;
  ++hired;
  std::thread([state = shared_from_this()] { state->work(); }).detach();
}

/// Sees to it that there is a thread awake for each job that waits, as far as there can be.
void ThreadPool::State::hire() {
  if (asleep.load(std::memory_order_seq_cst) == 0 &&
      threads.load(std::memory_order_seq_cst) >= maximum.load(std::memory_order_relaxed))
    return;
  // A thread that has just done its job, or was called already, may be about to take it.
  for (int i = 0; i < kQuick; ++i) {
    if (queued() <= awake.load(std::memory_order_seq_cst)) return;
    relax();
  }
  const std::lock_guard lock(mutex);
  if (queued() <= awake.load()) return;
  if (asleep.load() > 0) {
    --asleep;
    ++awake;
    ++called;
    work_.notify_one();
  } else if (threads.load() < maximum.load()) {
    add_thread();
  }
}

Status ThreadPool::State::submit(Job job, bool wait) {
  for (;;) {
    if (ending.load(std::memory_order_relaxed))
      return Error(ErrorCode::kCancelled, "the thread pool is stopping");
    if (has_room() && ring[rings.load(std::memory_order_acquire) - 1]->push(job)) break;
    if (!wait) return Error(ErrorCode::kExhausted, "the thread pool's queue is full");
    bool room_came = false;
    for (int i = 0; i < kFull && !room_came; ++i) {
      relax();
      room_came = i % 16 == 0 && has_room();
    }
    if (room_came) continue;
    std::unique_lock lock(mutex);
    ++waiting;
    room.wait_for(lock, kLookAgain, [&] { return ending.load() || has_room(); });
    --waiting;
  }
  hire();
  return ok();
}

// ---- threads ----------------------------------------------------------------------------------------------

/// Submitters that sleep are woken when there is room for several; they look by themselves, too.
void ThreadPool::State::made_room() {
  if (waiting.load(std::memory_order_seq_cst) == 0 || queued() * 2 > queue.load(std::memory_order_relaxed))
    return;
  const std::lock_guard lock(mutex);
  room.notify_all();
}

/// An idle thread, counted as awake, until it has a job. False: it is to leave, and is counted no more.
bool ThreadPool::State::look(Job& job) {
  for (;;) {
    for (int i = 0; i < kPauses; ++i) {
      if (pop(job)) {
        --awake;
        hire();  // whoever submitted meanwhile may have counted on us
        return true;
      }
      relax();
      if (i == kQuick && awake.load(std::memory_order_relaxed) > kMostSpinning) break;
    }
    std::unique_lock lock(mutex);
    if (!sleep(lock)) return false;
  }
}

/// With the mutex. True: look again, counted as awake.
bool ThreadPool::State::sleep(std::unique_lock<std::mutex>& lock) {
  ++asleep;
  --awake;
  const auto leaves = [&] { return threads.load() > limits.maximum || ending.load(); };
  bool timely = true;
  while (called == 0 && queued() == 0 && !leaves() && timely)
    timely = work_.wait_for(lock, limits.idle_timeout) == std::cv_status::no_timeout;
  if (called > 0) {  // counted as awake by who called
    --called;
    return true;
  }
  --asleep;
  // Counted out before the last look: who submits after that look sees that we are gone.
  const bool wants_to_leave = leaves() || threads.load() > limits.minimum;
  if (wants_to_leave) --threads;
  if (queued() == 0 && wants_to_leave) return false;
  if (wants_to_leave) ++threads;
  ++awake;
  return true;
}

/// A thread that has just done a job.
bool ThreadPool::State::next(Job& job) {
  for (int i = 0; i < kQuick; ++i) {
    if (pop(job)) return true;
    relax();
  }
  ++awake;
  return look(job);
}

void ThreadPool::State::work() {
  Job job;
  for (bool stays = look(job); stays; stays = next(job)) {
    if (waiting.load(std::memory_order_seq_cst) > 0) made_room();
    job();
    job = nullptr;
    if (threads.load(std::memory_order_relaxed) <= maximum.load(std::memory_order_relaxed)) continue;
    const std::lock_guard lock(mutex);
    if (threads.load() <= limits.maximum) continue;
    --threads;
    break;
  }
  const std::lock_guard lock(mutex);
  ++left;
  gone.notify_all();
}

// ---- the pool ---------------------------------------------------------------------------------------------

ThreadPool::ThreadPool(ThreadPoolLimits limits) {
  MVM_ASSERT(limits.maximum >= 1 && limits.minimum <= limits.maximum);
  state_ = std::make_shared<State>(limits);
  const std::lock_guard lock(state_->mutex);
  for (std::size_t i = 0; i < limits.minimum; ++i) state_->add_thread();
}

ThreadPool::~ThreadPool() {
  std::unique_lock lock(state_->mutex);
  state_->ending = true;
  state_->work_.notify_all();
  state_->room.notify_all();
  state_->gone.wait(lock, [&] { return state_->left == state_->hired; });
}

Status ThreadPool::submit(Job job) { return state_->submit(std::move(job), true); }

Status ThreadPool::try_submit(Job job) { return state_->submit(std::move(job), false); }

Status ThreadPool::adjust(ThreadPoolLimits limits) {
  if (limits.maximum < 1 || limits.minimum > limits.maximum)
    return Error(ErrorCode::kInvalid, "thread pool bounds: found minimum " + std::to_string(limits.minimum) +
                                          " and maximum " + std::to_string(limits.maximum) +
                                          ", expected 1 <= maximum and minimum <= maximum");
  const std::lock_guard lock(state_->mutex);
  state_->set(limits);
  while (state_->threads < limits.minimum) state_->add_thread();
  for (std::size_t waits = state_->queued(); waits > state_->awake && state_->threads < limits.maximum;)
    state_->add_thread();
  state_->work_.notify_all();
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

std::size_t ThreadPool::queued() const { return state_->queued(); }

}  // namespace mvm
