#pragma once
// Uses ports, and what they are connected by.

#include <memory>
#include <mutex>
#include <string>

#include "gate.h"
#include "mvm/pluglets/pluglet.h"
#include "mvm/rmix/client.h"

namespace mvm::pluglets {

/// A connection. Calls hold it while they run, so that it ends with the last of them.
class Wire {
 public:
  virtual ~Wire() = default;
  [[nodiscard]] virtual rmix::Outcome call(std::uint32_t method, std::vector<rmix::Value> arguments,
                                           Clock::Instant deadline) = 0;
};

/// To a pluglet of this kernel: a function call.
class LocalWire final : public Wire {
 public:
  explicit LocalWire(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}
  rmix::Outcome call(std::uint32_t method, std::vector<rmix::Value> arguments,
                     Clock::Instant deadline) override {
    static const rmix::Caller kLocal{
        .scheme = "local", .address = {}, .token = {}, .certificate = {}, .uid = {}};
    return gate_->call({.caller = kLocal, .deadline = deadline}, method, std::move(arguments));
  }

 private:
  std::shared_ptr<Gate> gate_;
};

/// To one elsewhere.
class RemoteWire final : public Wire {
 public:
  explicit RemoteWire(std::shared_ptr<rmix::Remote> remote) : remote_(std::move(remote)) {}
  rmix::Outcome call(std::uint32_t method, std::vector<rmix::Value> arguments,
                     Clock::Instant deadline) override {
    return remote_->call(method, std::move(arguments), {.deadline = deadline});
  }

 private:
  std::shared_ptr<rmix::Remote> remote_;
};

class Port final : public UsesPort {
 public:
  explicit Port(rmix::InterfacePtr interface) : interface_(std::move(interface)) {}
  [[nodiscard]] const rmix::InterfacePtr& interface() const { return interface_; }
  void connect(std::shared_ptr<Wire> wire, std::string target) {
    std::shared_ptr<Wire> old;  // ends outside the lock, if we are its last
    const std::lock_guard lock(mutex_);
    old = std::exchange(wire_, std::move(wire));
    target_ = std::move(target);
  }
  [[nodiscard]] std::string target() const {
    const std::lock_guard lock(mutex_);
    return target_;
  }
  [[nodiscard]] bool connected() const override { return wire() != nullptr; }
  [[nodiscard]] rmix::Outcome call(std::uint32_t method, std::vector<rmix::Value> arguments,
                                   Clock::Instant deadline) override {
    const std::shared_ptr<Wire> wire = this->wire();
    if (!wire) return rmix::failed(ErrorCode::kUnavailable, "the port is not connected", rmix::Fate::kNotRun);
    if (method >= interface_->methods.size())
      return rmix::failed(ErrorCode::kInvalid, "the port has no such method", rmix::Fate::kNotRun);
    if (const Status fits = rmix::check(arguments, interface_->methods[method].parameters, "the call"); !fits)
      return rmix::Failure{fits.error(), rmix::Fate::kNotRun};
    return wire->call(method, std::move(arguments), deadline);
  }

 private:
  [[nodiscard]] std::shared_ptr<Wire> wire() const {
    const std::lock_guard lock(mutex_);
    return wire_;
  }
  rmix::InterfacePtr interface_;
  mutable std::mutex mutex_;
  std::shared_ptr<Wire> wire_;
  std::string target_;
};

}  // namespace mvm::pluglets
