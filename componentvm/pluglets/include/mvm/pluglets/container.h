#pragma once
// The pluglets of one kernel: deployed, started, wired, served. [004, sl. 12-14, 20-21]

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/pluglets/lifecycle.h"
#include "mvm/pluglets/pluglet.h"
#include "mvm/pluglets/policy.h"
#include "mvm/rmix/client.h"
#include "mvm/rmix/server.h"

namespace mvm::pluglets {

/// A pluglet to be made.
struct Deployment {
  std::string type;  ///< of a file in the pluglets' folder, as plug-ins are wished for: "quotes@1"
  std::string id;    ///< [a-z0-9-]{1,32}; empty: drawn from the type
  std::map<std::string, std::string> parameters;  ///< at most 64, of 4 KiB each
};

/// One, as listed.
struct PlugletView {
  std::string id, uri, type, owner;
  State state = State::kDeployed;
  std::string reason;                           ///< of failure
  std::map<std::string, std::string> provides;  ///< port: interface
  std::map<std::string, std::string> uses;
  std::map<std::string, std::string> wires;  ///< uses port: "ID.PORT", or the address of a service elsewhere
};

/// Thread-safe. Every call says who asks; the policy decides.
class Container {
 public:
  struct Options {
    std::filesystem::path folder;  ///< of pluglets
    std::string node;              ///< "LAB/NODE"
    Policy policy;
    rmix::TlsIdentity tls;
    std::string token;  ///< shown to other kernels
  };
  /// `providers` are copied.
  [[nodiscard]] static std::unique_ptr<Container> create(Options options, const rmix::Providers& providers);
  /// Stops and destroys all, the latest first.
  virtual ~Container() = default;

  /// Makes it and calls init(). The URI. kExists, kRefused, what the loader or init() says.
  [[nodiscard]] virtual Result<std::string> deploy(const Actor& actor, const Deployment& deployment) = 0;
  /// kNotFound, kRefused, kConflict (not in this state), kTimeout (its calls do not end), kUnsupported
  /// (cannot be suspended), what the pluglet says. Stopping and suspending let calls end first.
  [[nodiscard]] virtual Status act(const Actor& actor, const std::string& id, Event event) = 0;
  /// Those that the actor may look at.
  [[nodiscard]] virtual std::vector<PlugletView> list(const Actor& actor) const = 0;

  /// Connects a uses port with "ID.PORT" of this kernel, or with the address of a service (rmix::Address) of
  /// any kernel; also where it is connected already: rewired. kUnsupported: of another type.
  [[nodiscard]] virtual Status connect(const Actor& actor, const std::string& id, const std::string& port,
                                       const std::string& target) = 0;
  [[nodiscard]] virtual Status disconnect(const Actor& actor, const std::string& id,
                                          const std::string& port) = 0;

  /// Opens an RMIX endpoint: by it services are called, and this container is asked as the service
  /// "pluglets". The provider's call. The endpoint with its port.
  [[nodiscard]] virtual Result<std::string> listen(const std::string& endpoint) = 0;
  /// The address of a port for those elsewhere, as connect() takes it. kNotFound, kRefused (who may not
  /// call).
  [[nodiscard]] virtual Result<std::string> reference(const Actor& actor, const std::string& id,
                                                      const std::string& port) const = 0;
};

}  // namespace mvm::pluglets
