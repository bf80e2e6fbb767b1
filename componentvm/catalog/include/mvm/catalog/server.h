#pragma once
// A server of the Resource Catalog: takes assertions, answers queries, and levels with its peers until all
// know the same. Any server may be updated; none is in charge [Harness 001, §6].

#include <chrono>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/catalog/wire.h"
#include "mvm/rmix/client.h"
#include "mvm/rmix/server.h"

namespace mvm::catalog {

inline constexpr const char* kService = "catalog";  ///< the name it is exported under

struct ServerOptions {
  std::filesystem::path file;      ///< what it knows; what was answered with success is in it
  std::vector<std::string> peers;  ///< other servers, as rmix::Address texts
  std::string token;               ///< servers show it to each other; without the same one no levelling
  rmix::TlsIdentity tls;           ///< for peers by native+tls
  std::set<std::string> parties;   ///< who may make assertions here; empty: whoever signs them
  std::chrono::milliseconds interval{1000};  ///< between two rounds of levelling
  std::chrono::milliseconds timeout{3000};   ///< of one call to a peer
};

/// Thread-safe. Its destructor waits for the round that runs.
class Server {
 public:
  /// kConflict: another process has the file open; kCorrupt.
  [[nodiscard]] static Result<std::unique_ptr<Server>> open(ServerOptions options, Clock& clock,
                                                            const rmix::Providers& providers);
  virtual ~Server() = default;
  /// `peer`: who asks has shown the servers' token. Errors as State's; kUnavailable: it knows less than the
  /// client has seen.
  [[nodiscard]] virtual Result<Answer> handle(const Request& request, bool peer) = 0;
  /// To be exported under kService. The server outlives it.
  [[nodiscard]] virtual std::shared_ptr<rmix::Service> service() = 0;
  /// Levels with every peer now. The first error, after all were tried.
  virtual Status level() = 0;
  [[nodiscard]] virtual Versions versions() const = 0;
};

/// The service's description: one method, which takes and answers wire.h's bytes.
[[nodiscard]] rmix::InterfacePtr interface();

}  // namespace mvm::catalog
