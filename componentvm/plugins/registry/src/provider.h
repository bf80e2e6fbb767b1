#pragma once
// Which provider a node's registry has, by the kernel's settings.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/kernel/plugin.h"
#include "mvm/registry/raft/raft_registry.h"
#include "mvm/registry/registry.h"

namespace mvm::plugins::registry {

inline constexpr std::size_t kShortestSecret = 16;  ///< of a replicated group, in bytes
inline constexpr std::size_t kMostChosen = 10;      ///< settings that the node's host may choose

/// A provider that is open. A member of a replicated group is in none before join_group().
struct Provider {
  std::string name;  ///< sqlite, raft or etcd
  std::unique_ptr<mvm::registry::Registry> registry;
  mvm::registry::RaftRegistry* raft = nullptr;  ///< `registry`, where it is replicated
  std::vector<replica::Member> first;           ///< of a new group
  std::vector<replica::Member> contacts;        ///< or of one that is to take this member in
};

/// Settings: registry.provider=sqlite (where nothing is said), raft or etcd; registry.file; registry.raft.*
/// and registry.etcd.* of docs/formats/registry.md. kInvalid: an unknown one, or a member of a group is not
/// told enough.
[[nodiscard]] Result<Provider> open_provider(const kernel::NodeConfig& node, Clock& clock);
/// Makes the group, or asks to be taken in; does nothing where the provider has none, or is in it already.
[[nodiscard]] Status join_group(Provider& provider);

/// kInvalid where one of them is not the node's host's to choose.
[[nodiscard]] Status hosts_to_choose(const std::map<std::string, std::string>& settings);

/// The parts of a setting that are separated by commas.
[[nodiscard]] std::vector<std::string> list_setting(const kernel::NodeConfig& node, const std::string& name,
                                                    const std::string& otherwise);

}  // namespace mvm::plugins::registry
