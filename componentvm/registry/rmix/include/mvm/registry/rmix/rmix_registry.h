#pragma once
// The registry over RMIX: served by a kernel, used by other processes as if it were their own.

#include <functional>
#include <memory>
#include <string>

#include "mvm/registry/registry.h"
#include "mvm/rmix/client.h"
#include "mvm/rmix/server.h"

namespace mvm::registry {

inline constexpr const char* kService = "registry";  ///< the name under which a kernel exports it

/// The owner that a caller's update has, or why it may do nothing: `said` is what the caller says.
using OwnerRule = std::function<Result<std::string>(const rmix::Caller& caller, const std::string& said)>;

/// Serves a registry, which outlives the service. An owner in an update becomes what `rule` says.
[[nodiscard]] std::shared_ptr<rmix::Service> make_rmix_service(Registry& registry, OwnerRule rule);

/// A registry elsewhere; its calls wait as long as the client's time-out, watches as long as they are told.
/// Updates whose answer is lost end in kTimeout: they may have happened.
[[nodiscard]] Result<std::unique_ptr<Registry>> bind_rmix_registry(rmix::Client& client,
                                                                   const std::string& address);

}  // namespace mvm::registry
