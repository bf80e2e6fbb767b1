// SPDX-License-Identifier: Apache-2.0
#pragma once
// The client side: references to services, and calls over them. docs/formats/rmix.md says what calls promise.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "mvm/rmix/interface.h"
#include "mvm/rmix/outcome.h"
#include "mvm/rmix/provider.h"
#include "mvm/rmix/providers.h"

namespace mvm::rmix {

/// A service's name and where it is served. As text: "NAME ENDPOINT ENDPOINT...", as Server::reference()
/// gives.
struct Address {
  std::string service;
  std::vector<std::string> endpoints;
  [[nodiscard]] static Result<Address> read(std::string_view text);
  [[nodiscard]] std::string text() const;
};

struct CallOptions {
  Clock::Instant deadline = kNever;  ///< kNever: the reference's time-out counts
};

/// A call that was made. Copies are the same call; dropping all of them does not end it.
class Pending {
 public:
  /// Waits for its end. Any number of threads, any number of times. In a callback of then() it does not wait:
  /// a call that is open is cancelled and ends with kConflict.
  [[nodiscard]] const Outcome& get() const;
  [[nodiscard]] bool wait_until(Clock::Instant moment) const;
  [[nodiscard]] bool over() const;
  /// Called once with the outcome: at once where it is over, else by the thread that ends it, which it must
  /// not hold up: it may make calls and cancel them, but not wait for them. A reference that it drops is
  /// closed by another thread, soon after.
  void then(std::function<void(const Outcome&)> callback) const;
  /// Asks for the call not to be run, waits for the answer until `moment`, and says whether it ran. Without
  /// an answer in time the call ends, for its callers, as cancelled with an unknown fate. A moment that has
  /// passed asks, and waits for nothing; so does any moment where a call's end is told (then()).
  Fate cancel(Clock::Instant moment) const;

  struct State;
  explicit Pending(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

/// A live reference to a service. Thread-safe. Its destructor ends calls that are open.
class Remote {
 public:
  virtual ~Remote() = default;
  [[nodiscard]] virtual const InterfacePtr& interface() const = 0;

  /// Calls and waits.
  [[nodiscard]] virtual Outcome call(std::uint32_t method, std::vector<Value> arguments,
                                     CallOptions options = {}) = 0;
  /// Calls. Arguments are the call's own from here on: what the caller does to its own copies is not seen.
  [[nodiscard]] virtual Pending start(std::uint32_t method, std::vector<Value> arguments,
                                      CallOptions options = {}) = 0;
  /// Calls a one-way method. kInvalid where it is none or the arguments do not fit; else what happens to the
  /// call is told to nobody: it runs once or not at all, in the order of its reference.
  [[nodiscard]] virtual Status send(std::uint32_t method, std::vector<Value> arguments) = 0;
  /// Waits until every call that was made is over, one-way calls too. kTimeout.
  [[nodiscard]] virtual Status flush(Clock::Instant moment) = 0;

  /// The scheme in use; empty where no connection is up.
  [[nodiscard]] virtual std::string protocol() const = 0;
  /// Goes over to another of its endpoints' schemes, or, where empty, to the cheapest. Calls under way end
  /// over the old one first, calls made meanwhile follow over the new one; none is lost or doubled. kTimeout:
  /// stayed with the old one; kUnavailable and others: the new one cannot be reached, stayed likewise.
  [[nodiscard]] virtual Status switch_to(const std::string& scheme, Clock::Instant moment) = 0;
};

/// Makes references. Thread-safe.
class Client {
 public:
  struct Options {
    std::string token;  ///< shown to every server
    TlsIdentity tls;
    std::chrono::milliseconds timeout{30'000};  ///< of a call without a deadline, and of connecting
  };
  [[nodiscard]] static std::unique_ptr<Client> create(const Providers& providers, Options options);
  virtual ~Client() = default;

  struct BindOptions {
    std::string scheme;                     ///< this one and no other; empty: the cheapest that answers
    std::chrono::milliseconds timeout{-1};  ///< < 0: the client's
  };
  /// Connects. Where a connection breaks later, the next call connects again, by the cheapest endpoint that
  /// answers. kUnavailable, kNotFound, kUnsupported, kRefused.
  [[nodiscard]] virtual Result<std::shared_ptr<Remote>> bind(const Address& address, InterfacePtr interface,
                                                             BindOptions options) = 0;
  [[nodiscard]] Result<std::shared_ptr<Remote>> bind(const Address& address, InterfacePtr interface) {
    return bind(address, std::move(interface), BindOptions{});
  }
};

}  // namespace mvm::rmix
