#pragma once
// One thread that waits for the connections of all references of this process for which no caller waits
// itself.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "mvm/base/unique_fd.h"

namespace mvm::rmix::native {

/// Who is told of a descriptor. Called by the poller's thread; kept alive meanwhile.
class Polled {
 public:
  virtual ~Polled() = default;
  virtual void on_ready() = 0;
};

/// Thread-safe.
class Poller {
 public:
  Poller();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// From now on the end of the connection is told. Returns what names it.
  [[nodiscard]] std::uint64_t add(int fd, std::weak_ptr<Polled> polled);
  /// Once the descriptor is readable, or writable if wanted, on_ready() is called, once.
  void arm(int fd, std::uint64_t name, bool write);
  /// Only the end of the connection is told.
  void disarm(int fd, std::uint64_t name);
  void remove(int fd, std::uint64_t name);

 private:
  void run();

  UniqueFd epoll_;
  UniqueFd stop_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::weak_ptr<Polled>> polled_;
  std::uint64_t last_ = 0;
  std::thread thread_;
};

}  // namespace mvm::rmix::native
