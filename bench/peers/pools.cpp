// Thread pools in the same loops: the kernel's, a mutex and a condition variable with a queue of the same
// length, and std::async.
//   pools rate ours|plain THREADS SECONDS     millions of tasks a second, submitted by one thread
//   pools latency ours|async COUNT            us from submitting a task to its first instruction, median,
//   pool busy
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mvm/base/thread_pool.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kQueue = 1024;

class Plain {
 public:
  explicit Plain(std::size_t threads) {
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Plain() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void submit(std::function<void()> job) {
    {
      std::unique_lock lock(mutex_);
      room_.wait(lock, [&] { return queue_.size() < kQueue; });
      queue_.push_back(std::move(job));
    }
    work_.notify_one();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const std::function<void()> job = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      room_.notify_one();
      job();
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable work_, room_;
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
  bool ending_ = false;
};

template <class Submit>
double rate(Submit submit, double seconds) {
  std::atomic<std::size_t> done = 0;
  std::size_t sent = 0;
  const auto begin = Clock::now();
  const auto end =
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (Clock::now() < end)
    for (int i = 0; i < 1000; ++i, ++sent) submit([&done] { done.fetch_add(1, std::memory_order_relaxed); });
  while (done.load() < sent) std::this_thread::yield();
  return static_cast<double>(sent) / std::chrono::duration<double>(Clock::now() - begin).count() / 1e6;
}

template <class Submit>
double latency(Submit submit, int count) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    std::atomic<bool> ran = false;
    Clock::time_point at;
    const auto begin = Clock::now();
    submit([&] {
      at = Clock::now();
      ran.store(true, std::memory_order_release);
    });
    while (!ran.load(std::memory_order_acquire)) {
    }
    times.push_back(std::chrono::duration<double, std::micro>(at - begin).count());
  }
  std::nth_element(times.begin(), times.begin() + count / 2, times.end());
  return times[static_cast<std::size_t>(count) / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "", who = argc > 2 ? argv[2] : "";
  if (what == "rate" && argc > 4) {
    const auto threads = static_cast<std::size_t>(std::atoi(argv[3]));
    const double seconds = std::atof(argv[4]);
    if (who == "ours") {
      mvm::ThreadPool pool({.minimum = threads, .maximum = threads, .queue = kQueue});
      std::printf("%g\n", rate([&](auto job) { (void)pool.submit(std::move(job)); }, seconds));
    } else {
      Plain pool(threads);
      std::printf("%g\n", rate([&](auto job) { pool.submit(std::move(job)); }, seconds));
    }
  } else if (what == "latency" && argc > 3) {
    const int count = std::atoi(argv[3]);
    if (who == "ours") {
      mvm::ThreadPool pool({.minimum = 1, .maximum = 4, .queue = kQueue});
      std::printf("%g\n", latency([&](auto job) { (void)pool.submit(std::move(job)); }, count));
    } else {
      std::vector<std::future<void>> futures;
      std::printf("%g\n",
                  latency([&](auto job) { futures.push_back(std::async(std::launch::async, job)); }, count));
    }
  } else {
    return 2;
  }
  return 0;
}
