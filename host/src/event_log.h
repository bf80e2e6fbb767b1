#pragma once
// The host's events since its daemon started, until the broker has acknowledged them.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "mvm/host/host_agent.h"

namespace mvm::host {

/// An ordered buffer of events with a long poll. Thread-safe. It stays small: each node has at most one event
/// of its kernel in it. What comes from kernels is not lost when this process dies: a kernel sends again what
/// was not acknowledged.
class EventLog {
 public:
  EventLog();

  /// Adds an event of the host's own. Never blocks; nothing is added once closed.
  void add(HostEvent event);

  /// Adds an event of a kernel and waits until the reader has handled it; only then may the kernel forget it.
  /// kCancelled once closed, or once the node is `gone` and wake() was called: the kernel will offer it again
  /// to whoever comes next.
  [[nodiscard]] Status deliver(HostEvent event, const std::atomic<bool>& gone);

  /// Lets deliveries look again whether their node is gone.
  void wake();

  /// As HostAgent::events().
  [[nodiscard]] HostEvents after(const std::string& epoch, std::uint64_t seq, std::chrono::milliseconds wait);

  /// Wakes all who wait; nothing is added any more.
  void close();

 private:
  static constexpr std::size_t kMaxPage = 512;
  static constexpr std::size_t kMaxPageBytes = 3U << 20;

  std::uint64_t append(HostEvent event);

  std::mutex mutex_;
  std::condition_variable more_;
  std::condition_variable handled_;
  std::deque<HostEvent> entries_;
  std::string epoch_;
  std::uint64_t next_ = 1;
  std::uint64_t handled_up_to_ = 0;
  bool closed_ = false;
};

}  // namespace mvm::host
