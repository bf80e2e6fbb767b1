#pragma once
// Which provider a node's registry has, by the kernel's settings.

#include <map>
#include <memory>

#include "mvm/base/clock.h"
#include "mvm/kernel/plugin.h"
#include "mvm/registry/registry.h"

namespace mvm::plugins::registry {

/// Settings: registry.provider=sqlite (where nothing is said), raft or etcd; registry.file; registry.raft.*
/// and registry.etcd.* of docs/formats/registry.md. kInvalid: an unknown one, or a member of a group is not
/// told enough.
[[nodiscard]] Result<std::unique_ptr<mvm::registry::Registry>> open_provider(const kernel::NodeConfig& node,
                                                                             Clock& clock);

/// The parts of a setting that are separated by commas.
[[nodiscard]] std::vector<std::string> list_setting(const kernel::NodeConfig& node, const std::string& name,
                                                    const std::string& otherwise);

}  // namespace mvm::plugins::registry
