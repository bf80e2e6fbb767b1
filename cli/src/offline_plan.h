#pragma once
// What a profile asks for, without asking anybody: nodes, and which process goes where. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "mvm/topologies/drawing.h"
#include "mvm/topologies/profile.h"

namespace mvm::cli {

/// The nodes of a profile, numbered as the profile lists its machines.
struct OfflinePlan {
  struct Node {
    std::string name;
    std::size_t machines = 0;  ///< number in the profile's machines
    std::vector<topologies::ProcessId> processes;
  };
  std::vector<Node> nodes;
  std::vector<std::uint32_t> node_of;  ///< for each process; Drawing::kNowhere where no machine takes it
};

/// Fills machines with processes in blocks. Linear in nodes and processes.
[[nodiscard]] OfflinePlan plan_offline(const topologies::Profile& profile);

/// The picture of a plan; it refers to `profile`.
[[nodiscard]] topologies::Drawing drawing_of(const topologies::Profile& profile, const OfflinePlan& plan);

}  // namespace mvm::cli
