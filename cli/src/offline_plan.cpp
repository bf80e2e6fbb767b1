#include "offline_plan.h"

#include <algorithm>
#include <map>

#include "format.h"

namespace mvm::cli {

OfflinePlan plan_offline(const topologies::Profile& profile) {
  OfflinePlan plan;
  std::map<std::string, std::vector<std::uint32_t>> nodes_of_role;
  for (std::size_t m = 0; m < profile.machines.size(); ++m) {
    const topologies::Machines& machines = profile.machines[m];
    for (std::uint32_t k = 0; k < machines.count; ++k) {
      const auto number = static_cast<std::uint32_t>(plan.nodes.size());
      plan.nodes.push_back({machines.name + "-" + std::to_string(k), m, {}});
      for (const std::string& role : machines.roles) nodes_of_role[role].push_back(number);
    }
  }

  // Roles that share the same nodes fill them together, one after the other.
  std::map<std::vector<std::uint32_t>, std::vector<topologies::ProcessId>> groups;
  plan.node_of.assign(profile.graph.process_count(), topologies::Drawing::kNowhere);
  for (const topologies::Role& role : profile.graph.roles()) {
    const auto nodes = nodes_of_role.find(role.name);
    if (nodes == nodes_of_role.end()) continue;
    auto& processes = groups[nodes->second];
    for (std::uint32_t i = 0; i < role.count; ++i) processes.push_back(role.first_process + i);
  }
  for (const auto& [nodes, processes] : groups) {
    const std::uint64_t used = std::min<std::uint64_t>(nodes.size(), processes.size());
    for (std::uint64_t i = 0; i < processes.size(); ++i) {
      // Blocks whose sizes differ by one at most.
      const std::uint32_t node = nodes[i * used / processes.size()];
      plan.node_of[processes[i]] = node;
    }
  }
  for (topologies::ProcessId process = 0; process < plan.node_of.size(); ++process) {
    const std::uint32_t node = plan.node_of[process];
    if (node != topologies::Drawing::kNowhere) plan.nodes[node].processes.push_back(process);
  }
  return plan;
}

topologies::Drawing drawing_of(const topologies::Profile& profile, const OfflinePlan& plan) {
  topologies::Drawing drawing;
  drawing.title = profile.name;
  drawing.graph = &profile.graph;
  for (const OfflinePlan::Node& node : plan.nodes) {
    const topologies::Machines& machines = profile.machines[node.machines];
    drawing.nodes.push_back(
        {node.name, machines.driver + " " + machines.image + " " + human_bytes(machines.memory), 0});
  }
  if (!plan.nodes.empty()) drawing.node_of = plan.node_of;
  return drawing;
}

}  // namespace mvm::cli
