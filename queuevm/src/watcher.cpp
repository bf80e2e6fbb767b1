#include "watcher.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <climits>

namespace mvm::queuevm {

Watcher::Watcher(int bell) : bell_(bell), thread_([this] { run(); }) {}

Watcher::~Watcher() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    ++order_;
    control_.fetch_add(1);
  }
  ring::futex_wake(control_, INT_MAX);
  changed_.notify_all();
  thread_.join();
}

void Watcher::watch(std::vector<WatchedWord> words) {
  {
    std::lock_guard lock(mutex_);
    words_ = std::move(words);
    ++order_;
    control_.fetch_add(1);
  }
  ring::futex_wake(control_, INT_MAX);
  changed_.notify_all();
}

void Watcher::stop_watching() {
  std::unique_lock lock(mutex_);
  words_.clear();
  ++order_;
  control_.fetch_add(1);
  ring::futex_wake(control_, INT_MAX);
  changed_.wait(lock, [this] { return !sleeping_; });
}

void Watcher::run() {
  std::unique_lock lock(mutex_);
  while (!quit_) {
    if (words_.empty()) {
      const std::uint64_t order = order_;
      changed_.wait(lock, [&] { return quit_ || order_ != order; });
      continue;
    }
    std::vector<WatchedWord> words = std::move(words_);
    words_.clear();
    words.push_back({&control_, control_.load()});
    sleeping_ = true;
    lock.unlock();
    ring::sleep_until_changed(words.data(), words.size());
    const bool rang = std::any_of(words.begin(), words.end() - 1,
                                  [](const WatchedWord& one) { return one.word->load() != one.value; });
    lock.lock();
    sleeping_ = false;
    changed_.notify_all();
    if (rang) {
      ::eventfd_write(bell_, 1);
    } else if (words_.empty() && control_.load() == words.back().value) {
      // Woken for nothing: sleep on them again.
      words.pop_back();
      words_ = std::move(words);
    }
  }
}

}  // namespace mvm::queuevm
