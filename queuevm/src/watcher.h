#pragma once
// Wakes an event loop when a futex word changes: loops poll descriptors, queues sleep on futexes.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "ring/wait.h"

namespace mvm::queuevm {

/// One word and the value it had when it was last looked at.
using WatchedWord = ring::WordValue;

/// A thread that sleeps on up to kMost words and writes an eventfd when one of them has changed.
class Watcher {
 public:
  static constexpr std::size_t kMost = 120;
  /// `bell`: an eventfd; it outlives the watcher.
  explicit Watcher(int bell);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  /// Watches these from now on, instead of those before. Rings at once where a word has changed already.
  void watch(std::vector<WatchedWord> words);
  /// Watches nothing; on return no word is looked at any more, and their memory may go.
  void stop_watching();

 private:
  void run();
  int bell_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WatchedWord> words_;
  std::uint64_t order_ = 0;  // stepped by each watch() and stop_watching()
  bool sleeping_ = false;    // on the words
  bool quit_ = false;
  std::atomic<std::uint32_t> control_{0};
  std::thread thread_;
};

}  // namespace mvm::queuevm
