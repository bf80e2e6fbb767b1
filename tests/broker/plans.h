#pragma once
// Plans for tests, without a planner.

#include <string>
#include <utility>
#include <vector>

#include "mvm/broker/planner.h"

namespace mvm::broker {

/// A plan that puts process p on node node_of[p]; nodes "c0@a" are containers of host a, "v0@a" guests of it,
/// "w0@a" guests that share memory with each other and with it.
inline Plan place(const std::vector<std::string>& nodes, std::vector<std::uint32_t> node_of) {
  Plan plan;
  for (const auto& node : nodes) {
    PlanNode entry;
    entry.node = node.substr(0, node.find('@'));
    entry.host = node.substr(node.find('@') + 1);
    entry.driver = node.front() == 'c' ? "lxc" : "qemu";
    if (node.front() == 'w') entry.seat = static_cast<std::uint32_t>(plan.nodes.size() + 1);
    plan.nodes.push_back(entry);
  }
  plan.node_of = std::move(node_of);
  return plan;
}

}  // namespace mvm::broker
