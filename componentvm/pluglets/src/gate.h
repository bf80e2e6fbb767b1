#pragma once
// The door before a pluglet's service: closed while the pluglet does not serve.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "mvm/rmix/server.h"

namespace mvm::pluglets {

/// All services of one pluglet go through one. Thread-safe.
class Door {
 public:
  bool enter() {
    const std::lock_guard lock(mutex_);
    if (!open_) return false;
    ++inside_;
    within().push_back(this);
    return true;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    within().erase(std::find(within().rbegin(), within().rend(), this).base() - 1);
    --inside_;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
  }
  /// Lets nobody in, and returns when all are out. False: they did not leave in time, and it is open again.
  bool close(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    open_ = false;
    if (changed_.wait_for(lock, time, [&] { return inside_ == 0; })) return true;
    open_ = true;
    return false;
  }
  /// True where this thread is inside.
  [[nodiscard]] bool mine() const {
    return std::find(within().begin(), within().end(), this) != within().end();
  }

 private:
  static std::vector<const Door*>& within() {
    thread_local std::vector<const Door*> doors;
    return doors;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  std::size_t inside_ = 0;
};

/// A service behind the door.
class Gate final : public rmix::Service {
 public:
  Gate(std::shared_ptr<rmix::Service> service, std::shared_ptr<Door> door)
      : interface_(service->interface()), service_(std::move(service)), door_(std::move(door)) {}
  [[nodiscard]] rmix::InterfacePtr interface() const override { return interface_; }
  [[nodiscard]] rmix::Outcome call(const rmix::CallContext& context, std::uint32_t method,
                                   std::vector<rmix::Value> arguments) override {
    if (!door_->enter())
      return rmix::failed(ErrorCode::kUnavailable, "the pluglet does not serve now", rmix::Fate::kNotRun);
    auto outcome = service_->call(context, method, std::move(arguments));
    door_->leave();
    return outcome;
  }
  /// Once the door is closed for good: the service's code goes.
  void drop() { service_.reset(); }

 private:
  rmix::InterfacePtr interface_;
  std::shared_ptr<rmix::Service> service_;
  std::shared_ptr<Door> door_;
};

}  // namespace mvm::pluglets
