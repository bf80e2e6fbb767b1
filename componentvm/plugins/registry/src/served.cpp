#include "served.h"

#include <unistd.h>

#include "mvm/registry/rmix/rmix_registry.h"
#include "mvm/rmix/native.h"
#include "provider.h"

namespace mvm::plugins::registry {
namespace {

constexpr std::size_t kMaxOwnerPart = 100;

/// The kernel's own user and root are who they say; others have a name of their own below their user id, so
/// that nobody takes another's. Those whom the system does not know by a user id may only look.
Result<std::string> owner_of(const rmix::Caller& caller, const std::string& said) {
  if (!caller.uid)
    return Error(ErrorCode::kRefused, "only processes of this node, over shared memory, change the registry");
  if (*caller.uid == ::geteuid() || *caller.uid == 0) return said;
  if (said.size() > kMaxOwnerPart)
    return Error(ErrorCode::kInvalid, "an owner's name of a process has at most 100 bytes");
  return "uid/" + std::to_string(*caller.uid) + (said.empty() ? "" : "/" + said);
}

}  // namespace

Result<std::unique_ptr<Served>> Served::open(const kernel::NodeConfig& node,
                                             mvm::registry::Registry& registry) {
  rmix::Providers providers;
  providers.add(rmix::make_native_provider());
  auto server = rmix::Server::create(providers, {.threads = {.minimum = 0, .maximum = 64, .queue = 1024}});
  MVM_TRY(server->add(mvm::registry::kService, mvm::registry::make_rmix_service(registry, owner_of)));
  const auto endpoints =
      list_setting(node, "registry.listen", "native+shm:" + (node.run / "registry.sock").string());
  for (const auto& endpoint : endpoints)
    if (endpoint != "none") MVM_TRY(server->listen(endpoint));
  return std::unique_ptr<Served>(new Served(std::move(server)));
}

}  // namespace mvm::plugins::registry
