// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a pluglet is: a service that somebody deploys into a provider's kernel [004, sl. 11-14], and a
// component with ports that a builder wires [sl. 20-21].
//
//   class Quotes final : public mvm::pluglets::Pluglet, public mvm::pluglets::Component { ... };
//   MVM_PLUGLET(Quotes, "quotes", "1.0.0")

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/plugin_loader.h"
#include "mvm/base/result.h"
#include "mvm/rmix/server.h"

namespace mvm::pluglets {

inline constexpr const char* kPlugletKind = "pluglet";
inline constexpr std::uint32_t kPlugletApi = 1;

/// An end of a wire: calls what the port is connected with. Any thread. A call that is under way when the
/// port is connected with another one, or disconnected, ends on the old wire.
class UsesPort {
 public:
  virtual ~UsesPort() = default;
  [[nodiscard]] virtual bool connected() const = 0;
  /// kUnavailable, not run, where it is not connected. The method's number is that of the port's interface.
  [[nodiscard]] virtual rmix::Outcome call(std::uint32_t method, std::vector<rmix::Value> arguments,
                                           Clock::Instant deadline = rmix::kNever) = 0;
};

/// The pluglet's surroundings; valid from init() until destroy() returns.
class ExecutionContext {
 public:
  virtual ~ExecutionContext() = default;
  /// "pluglet:LAB/NODE/ID", also the component's ComponentID.
  [[nodiscard]] virtual const std::string& uri() const = 0;
  [[nodiscard]] virtual const std::string& id() const = 0;
  /// What it was deployed with.
  [[nodiscard]] virtual const std::map<std::string, std::string>& parameters() const = 0;
  /// Of Component::uses(); null where it has no such port.
  [[nodiscard]] virtual UsesPort* uses(const std::string& port) = 0;
};

/// Its methods are called one at a time. What fails makes it "failed", and it is destroyed later.
class Pluglet {
 public:
  virtual ~Pluglet() = default;
  [[nodiscard]] virtual Status init(ExecutionContext& context) = 0;
  [[nodiscard]] virtual Status start() = 0;
  /// No call of its services runs by then, and none begins before it is started again.
  virtual void stop() = 0;
  virtual void destroy() = 0;
};

/// A pluglet that can be put to sleep may have this interface, too.
class Suspendible {
 public:
  virtual ~Suspendible() = default;
  /// No call runs by then; it is started again by resume().
  [[nodiscard]] virtual Status suspend() = 0;
  [[nodiscard]] virtual Status resume() = 0;
};

/// A port with a service behind it.
struct Provides {
  std::string port;  ///< [a-z0-9-]{1,32}
  std::shared_ptr<rmix::Service> service;
};

/// A port that needs one.
struct Uses {
  std::string port;
  rmix::InterfacePtr interface;
};

/// A pluglet that offers services, or uses those of others, has this interface, too. Asked for once, before
/// init().
class Component {
 public:
  virtual ~Component() = default;
  [[nodiscard]] virtual std::vector<Provides> provides() = 0;
  [[nodiscard]] virtual std::vector<Uses> uses() { return {}; }
};

}  // namespace mvm::pluglets

/// Exports `Class` as the pluglet of this shared object. Once, at namespace scope.
#define MVM_PLUGLET(Class, pluglet_name, pluglet_version)                                        \
  extern "C" __attribute__((visibility("default"))) const ::mvm::MvmPluginDescriptor mvm_plugin; \
  extern "C" const ::mvm::MvmPluginDescriptor mvm_plugin = {                                     \
      ::mvm::kPluginMagic,                                                                       \
      ::mvm::kPluginAbi,                                                                         \
      ::mvm::pluglets::kPlugletKind,                                                             \
      ::mvm::pluglets::kPlugletApi,                                                              \
      pluglet_name,                                                                              \
      pluglet_version,                                                                           \
      nullptr,                                                                                   \
      nullptr,                                                                                   \
      []() -> void* { return static_cast<::mvm::pluglets::Pluglet*>(new Class()); },             \
      [](void* object) { delete static_cast<::mvm::pluglets::Pluglet*>(object); }};
