#pragma once
// One connection to libvirt that is watched, and made again when it breaks.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "handles.h"

namespace mvm::osvm::libvirt {

/// Keeps a connection open from a thread of its own. All methods from any thread.
class Connection {
 public:
  struct Callbacks {
    /// On the watcher's thread, a fresh connection before others see it: subscribe to events here.
    std::function<void(virConnectPtr)> opened;
    /// On the watcher's thread, a connection about to be let go: unsubscribe here.
    std::function<void(virConnectPtr)> closing;
    /// On the watcher's thread, after the connection broke and before the next attempt.
    std::function<void(const std::string& why)> lost;
    /// On the watcher's thread, when it works again (not for the first time).
    std::function<void()> restored;
  };
  Connection(std::string uri, Callbacks callbacks);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// The connection; waits for the very first attempt only. kUnavailable while there is none.
  [[nodiscard]] Result<ConnectHandle> get();

 private:
  enum class Phase { kFirstAttempt, kOpen, kBroken };
  /// Shared with libvirt, which may call back while we are being destroyed.
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    Phase phase = Phase::kFirstAttempt;
    ConnectHandle connect;
    std::optional<Error> problem;
    std::uint64_t generation = 0;  // of the connection that is open or being opened
    bool dropped = false;          // libvirt told us that it is dead
    bool stop = false;
  };
  struct CloseNote {
    std::shared_ptr<Shared> shared;
    std::uint64_t generation;
  };
  void watch();
  Result<ConnectHandle> open() const;
  void serve(const ConnectHandle& connect, bool first);
  static void closed(virConnectPtr connect, int reason, void* note);

  const std::string uri_;
  const Callbacks callbacks_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::thread thread_;
};

}  // namespace mvm::osvm::libvirt
