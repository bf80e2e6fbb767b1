// SPDX-License-Identifier: Apache-2.0
#pragma once
// What carries calls: plug-ins of kind "rmix" (mvm/base/plugin_loader.h), each for one or more schemes. They
// know generic values and interface descriptions, and neither stubs nor services.
//
//   MVM_RMIX_PROVIDER(SoapProvider, "soap", "1.0.0")

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/base/plugin_loader.h"
#include "mvm/base/result.h"
#include "mvm/rmix/interface.h"
#include "mvm/rmix/outcome.h"

namespace mvm::rmix {

inline constexpr const char* kProviderKind = "rmix";
inline constexpr std::uint32_t kProviderApi = 1;
/// Of one request or answer as it travels.
inline constexpr std::size_t kMostBytes = 64U << 20U;

/// No deadline.
inline constexpr Clock::Instant kNever = Clock::Instant::max();

/// Our certificate and whom we believe, PEM; empty: no TLS.
struct TlsIdentity {
  std::string certificate;
  std::string key;
  std::string authority;
};

/// Who calls, as far as the protocol can tell.
struct Caller {
  std::string scheme;                ///< of the endpoint that it came by
  std::string address;               ///< "127.0.0.1:4711", "unix"
  std::string token;                 ///< what it showed; empty: none
  std::string certificate;           ///< common name of a certificate that was verified; empty: none
  std::optional<std::uint32_t> uid;  ///< of a process of this host, from the system
};

// --- server side ---------------------------------------------------------------------------------------

/// One call's way through a server, shared by who brought it and who runs it.
class Ticket {
 public:
  /// True: it will not run, and nobody else answers it. False: it runs or ran; its method is told.
  bool cancel() {
    cancelled_.store(true);
    int waiting = kWaiting;
    return state_.compare_exchange_strong(waiting, kCancelled);
  }
  /// The dispatcher's: false where it was cancelled.
  bool begin() {
    int waiting = kWaiting;
    return state_.compare_exchange_strong(waiting, kBegun);
  }
  [[nodiscard]] bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kWaiting = 0, kBegun = 1, kCancelled = 2;
  std::atomic<int> state_{kWaiting};
  std::atomic<bool> cancelled_{false};
};

/// A service under a name. Opaque but for its description.
class Exported {
 public:
  virtual ~Exported() = default;
  [[nodiscard]] virtual const Interface& interface() const = 0;
  [[nodiscard]] virtual const std::string& name() const = 0;
};

/// Calls of one reference, which run in the order of their dispatching unless their methods are concurrent.
/// Made by Dispatcher::make_order(), kept by the connection.
class Order {
 public:
  virtual ~Order() = default;
};

/// A request that arrived whole; its arguments are of the method's types in number, kind and depth.
struct Incoming {
  std::shared_ptr<Exported> target;
  std::uint32_t method = 0;
  std::vector<Value> arguments;
  std::shared_ptr<const Caller> caller;
  Clock::Instant deadline = kNever;
  std::shared_ptr<Order> order;    ///< null: no other call waits for this one, nor it for others
  std::shared_ptr<Ticket> ticket;  ///< null: cannot be cancelled
};

/// Hears of a call's outcome once, on any thread. Must not throw.
using Done = std::function<void(Outcome)>;

/// The server, as listeners see it. Thread-safe.
class Dispatcher {
 public:
  virtual ~Dispatcher() = default;
  /// kNotFound.
  [[nodiscard]] virtual Result<std::shared_ptr<Exported>> find(const std::string& service) = 0;
  /// All that is exported now.
  [[nodiscard]] virtual std::vector<std::shared_ptr<Exported>> all() = 0;
  /// kRefused where this caller may call nothing of it: a connection need not be kept for it.
  [[nodiscard]] virtual Status admit(const Exported& service, const Caller& caller) = 0;
  [[nodiscard]] virtual std::shared_ptr<Order> make_order() = 0;
  /// Puts a call in its place among those of its order. Returns what checks permission and deadline, runs the
  /// method, and then whatever has queued up behind it: to be called once, on any thread. Null where another
  /// thread will come to it. `done` is not called where ticket->cancel() was true.
  [[nodiscard]] virtual std::function<void()> place(Incoming incoming, Done done) = 0;
  /// The same on this thread, before it returns.
  void dispatch(Incoming incoming, Done done) {
    if (const auto run = place(std::move(incoming), std::move(done))) run();
  }
  /// Runs something on the server's thread pool; blocks while its queue is full.
  [[nodiscard]] virtual Status submit(std::function<void()> job) = 0;
  /// Never blocks: kExhausted.
  [[nodiscard]] virtual Status try_submit(std::function<void()> job) = 0;
};

/// An open endpoint. Its destructor takes no more calls, and returns when none of its threads is inside the
/// dispatcher and no `done` will be heard any more; calls under way are let end.
class Listener {
 public:
  virtual ~Listener() = default;
  /// Where others reach it, with the port that was chosen: "native+tcp://127.0.0.1:4711".
  [[nodiscard]] virtual std::string endpoint() const = 0;
};

struct ListenOptions {
  std::string endpoint;  ///< "native+tcp://127.0.0.1:0"; port 0: any
  std::string server;    ///< the server's identifier, drawn at random, [0-9a-f]{32}
  TlsIdentity tls;
};

// --- client side ---------------------------------------------------------------------------------------

/// One call to be made.
struct Request {
  std::uint32_t method = 0;
  std::vector<Value> arguments;  ///< checked against the method's parameters
  Clock::Instant deadline = kNever;
  bool waits = false;  ///< the thread that makes the call comes into help() afterwards
};

/// A way to one service for one reference. Thread-safe. Its destructor ends calls that are open (as
/// kUnavailable, their fate as it is known); afterwards no Done is called.
class Connection {
 public:
  virtual ~Connection() = default;
  /// Makes a call, and tells `done` once how it ended, on any thread, maybe before this returns. `request`
  /// stays as it is until then. Does not wait for the answer, unless `blocking()`. A one-way call is done,
  /// with a void value, once it ran. The base watches deadlines; that of the request tells the server when
  /// nobody waits any more. The number names the call, never 0.
  virtual std::uint64_t call(const Request& request, Done done) = 0;
  /// Asks the server not to run it, or to stop it; its Done tells whether it ran. What cannot, does nothing.
  virtual void cancel(std::uint64_t /*call*/) {}
  /// True where call() returns only when the call is over: the base gives it a thread. At most as many calls
  /// at a time then as `width()`.
  [[nodiscard]] virtual bool blocking() const { return false; }
  [[nodiscard]] virtual unsigned width() const { return 1; }
  /// True where calls run in the order of call(); else the base makes ordered calls one at a time.
  [[nodiscard]] virtual bool keeps_order() const { return false; }
  /// False once it is broken: calls would end at once, as not run.
  [[nodiscard]] virtual bool usable() const = 0;
  /// It will be destroyed once all have left call() and help(), so let them leave soon. Any thread.
  virtual void shut() {}
  /// Lends this thread until `over` or the deadline; may return early.
  virtual void help(const std::atomic<bool>& /*over*/, Clock::Instant /*deadline*/) {}
};

struct ConnectOptions {
  std::string endpoint;
  std::string service;     ///< the name under which it is exported
  InterfacePtr interface;  ///< what we expect it to be
  std::string token;       ///< to be shown; empty: none
  TlsIdentity tls;
  Clock::Instant deadline = kNever;
};

// --- the provider --------------------------------------------------------------------------------------

/// A scheme that a provider speaks.
struct Scheme {
  std::string name;   ///< "native+tcp"
  unsigned cost = 0;  ///< of an endpoint where several are possible the cheapest is taken; about microseconds
};

/// Thread-safe.
class Provider {
 public:
  virtual ~Provider() = default;
  [[nodiscard]] virtual std::vector<Scheme> schemes() const = 0;
  /// kUnavailable: not to be reached that way; kNotFound: no such service; kUnsupported: another interface;
  /// kRefused: not with this token or certificate.
  [[nodiscard]] virtual Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options) = 0;
  /// Serves all that `dispatcher`, which outlives the listener, knows, also what is exported later.
  [[nodiscard]] virtual Result<std::unique_ptr<Listener>> listen(const ListenOptions& options,
                                                                 Dispatcher& dispatcher) = 0;
};

}  // namespace mvm::rmix

/// Exports `Class` as the RMIX provider of this shared object. Once per plug-in, at namespace scope.
#define MVM_RMIX_PROVIDER(Class, plugin_name, plugin_version)                                    \
  extern "C" __attribute__((visibility("default"))) const ::mvm::MvmPluginDescriptor mvm_plugin; \
  extern "C" const ::mvm::MvmPluginDescriptor mvm_plugin = {                                     \
      ::mvm::kPluginMagic,                                                                       \
      ::mvm::kPluginAbi,                                                                         \
      ::mvm::rmix::kProviderKind,                                                                \
      ::mvm::rmix::kProviderApi,                                                                 \
      plugin_name,                                                                               \
      plugin_version,                                                                            \
      nullptr,                                                                                   \
      nullptr,                                                                                   \
      []() -> void* { return static_cast<::mvm::rmix::Provider*>(new Class()); },                \
      [](void* object) { delete static_cast<::mvm::rmix::Provider*>(object); }};
