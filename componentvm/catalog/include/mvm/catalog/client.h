#pragma once
// The catalog as its clients see it: several servers as one, and each party's updates in their order.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/catalog/wire.h"
#include "mvm/rmix/client.h"

namespace mvm::catalog {

struct ClientOptions {
  std::vector<std::string> servers;         ///< rmix::Address texts; asked in this order
  std::chrono::milliseconds timeout{3000};  ///< of each
  rmix::TlsIdentity tls;                    ///< for servers by native+tls
  std::uint64_t sequence = 0;               ///< the last one that the key has used, where that is known
};

/// What a party wants to say.
struct Statement {
  std::string uri;
  std::string name;
  std::string value;
  std::string type = "text/plain";
  std::chrono::milliseconds ttl{60'000};
  std::chrono::milliseconds life{24 * 3600 * 1000};  ///< then it no longer holds
  bool withdrawn = false;
};

/// Thread-safe; one call at a time.
class Client {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Client>> open(ClientOptions options, Clock& clock,
                                                            const rmix::Providers& providers);
  virtual ~Client() = default;
  /// Signs it and gives it to one server, which passes it on. kUnavailable: none answered. A key speaks
  /// through one client at a time; what it says through a second one meanwhile may end in kConflict.
  [[nodiscard]] virtual Result<Assertion> say(const Key& key, const Statement& statement) = 0;
  /// What all parties say, each for itself; empty name: about all characteristics. Never goes back behind
  /// what this client has seen: kUnavailable where no server that answers knows so much.
  [[nodiscard]] virtual Result<std::vector<Assertion>> query(const std::string& uri,
                                                             const std::string& name) = 0;
  [[nodiscard]] virtual Result<std::vector<std::string>> resources(const std::string& beginning,
                                                                   const std::string& after,
                                                                   std::size_t limit) = 0;
};

}  // namespace mvm::catalog
