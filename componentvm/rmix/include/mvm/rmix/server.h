// SPDX-License-Identifier: Apache-2.0
#pragma once
// The server side: objects exported under names, reachable by every endpoint that is open.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/thread_pool.h"
#include "mvm/rmix/interface.h"
#include "mvm/rmix/outcome.h"
#include "mvm/rmix/provider.h"
#include "mvm/rmix/providers.h"

namespace mvm::rmix {

/// What a method may know of the call that it serves.
struct CallContext {
  const Caller& caller;
  Clock::Instant deadline = kNever;
  const Ticket* ticket = nullptr;
  /// The caller asked for it to stop, or its deadline passed: answer soon, whatever.
  [[nodiscard]] bool cancelled() const {
    return (ticket != nullptr && ticket->cancelled()) ||
           (deadline != kNever && std::chrono::steady_clock::now() >= deadline);
  }
};

/// What can be exported. Generated server stubs are such; so is what serves any interface by hand.
class Service {
 public:
  virtual ~Service() = default;
  /// The same one for as long as it lives.
  [[nodiscard]] virtual InterfacePtr interface() const = 0;
  /// Any thread, several at once where methods are concurrent or references several. Arguments fit the
  /// method's parameters; what does not fit its result or exceptions reaches the caller as a failure.
  [[nodiscard]] virtual Outcome call(const CallContext& context, std::uint32_t method,
                                     std::vector<Value> arguments) = 0;
};

/// Who may call; an error (kRefused) is the caller's answer.
using Permission =
    std::function<Status(const Caller& caller, const Interface& interface, const Method& method)>;

/// Exports services and opens endpoints. Thread-safe. Its destructor closes all and waits for calls that run.
class Server {
 public:
  struct Options {
    ThreadPoolLimits threads{.minimum = 0, .maximum = 16, .queue = 1024};
    Permission permission;  ///< asked before every call of a service that has none of its own; null: all may
    TlsIdentity tls;        ///< for endpoints that need one
  };
  [[nodiscard]] static std::unique_ptr<Server> create(const Providers& providers, Options options);
  virtual ~Server() = default;

  /// kExists, kInvalid (see check(Interface); names are [A-Za-z0-9._-]{1,128}).
  [[nodiscard]] virtual Status add(const std::string& name, std::shared_ptr<Service> service,
                                   Permission permission = {}) = 0;
  /// New calls find it no more; waits for those that run, unless called from one of them. kNotFound.
  [[nodiscard]] virtual Status remove(const std::string& name) = 0;
  /// Opens "native+tcp://127.0.0.1:0" or the like; returns it with the port that was chosen. kUnsupported
  /// where no provider speaks its scheme.
  [[nodiscard]] virtual Result<std::string> listen(const std::string& endpoint) = 0;
  /// kNotFound.
  [[nodiscard]] virtual Status close(const std::string& endpoint) = 0;
  /// Those that are open.
  [[nodiscard]] virtual std::vector<std::string> endpoints() const = 0;
  /// The reference to a service over all endpoints, as Client::bind() takes it. kNotFound.
  [[nodiscard]] virtual Result<std::string> reference(const std::string& name) const = 0;
  /// The thread pool's bounds, from now on.
  [[nodiscard]] virtual Status adjust(ThreadPoolLimits limits) = 0;
};

}  // namespace mvm::rmix
