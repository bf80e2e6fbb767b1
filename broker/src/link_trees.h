#pragma once
// Which trees of queues a graph's links become.

#include <span>

#include "mvm/topologies/graph.h"

namespace mvm::broker {

/// Where an end's port would stand: it is outside the lab.
inline constexpr topologies::Slot kOutside = 0xffffffffU;

/// Calls `tree(link, producers, consumers)`: once for a one-of link, for the others once for each consumer. A
/// link without ends on one side counts as not joined.
template <class Tree>
void for_each_tree(const topologies::Graph& graph, Tree tree) {
  for (topologies::LinkId id = 0; id < graph.link_count(); ++id) {
    const auto link = graph.link(id);
    if (link.producers.empty() && link.consumers.empty()) continue;
    if (link.open()) {
      // The outside stands beside the first process: that node's kernel sees the same queue.
      const bool in = link.producers.empty();
      const topologies::End outside{(in ? link.consumers : link.producers).front().process, kOutside};
      const std::span one(&outside, 1);
      tree(id, in ? one : link.producers, in ? link.consumers : one);
      continue;
    }
    if (link.producers.empty() || link.consumers.empty()) continue;
    if (link.spec->deliver == topologies::Deliver::kOneOf) {
      tree(id, link.producers, link.consumers);
      continue;
    }
    for (const auto& consumer : link.consumers) tree(id, link.producers, std::span(&consumer, 1));
  }
}

}  // namespace mvm::broker
