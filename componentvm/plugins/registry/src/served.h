#pragma once
// The registry for other processes of the node, over RMIX.

#include <memory>

#include "mvm/kernel/plugin.h"
#include "mvm/registry/registry.h"
#include "mvm/rmix/server.h"

namespace mvm::plugins::registry {

class Served {
 public:
  /// Setting registry.listen: endpoints of RMIX's native provider, separated by commas; "none": none. Where
  /// nothing is said: memory shared with processes of this node, met at <run>/registry.sock.
  [[nodiscard]] static Result<std::unique_ptr<Served>> open(const kernel::NodeConfig& node,
                                                            mvm::registry::Registry& registry);

 private:
  explicit Served(std::unique_ptr<rmix::Server> server) : server_(std::move(server)) {}
  std::unique_ptr<rmix::Server> server_;
};

}  // namespace mvm::plugins::registry
