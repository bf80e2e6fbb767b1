#pragma once
// What links and patterns share while a topology is expanded.

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fault_list.h"
#include "graph_builder.h"
#include "mvm/topologies/topology.h"

namespace mvm::topologies {

struct Expansion {
  const std::vector<Param>& params;
  GraphBuilder& builder;
  FaultList& faults;
  std::set<const Port*> named;  ///< ports that some link or pattern names
  std::uint64_t steps_left = kMaxExpansionSteps;
  bool exhausted = false;

  /// Takes from the work that is allowed; false, with a fault, where it is used up.
  [[nodiscard]] bool spend(std::uint64_t steps, const SourcePosition& where) {
    if (steps <= steps_left) {
      steps_left -= steps;
      return true;
    }
    if (!exhausted) {
      faults.add(where, "the topology takes more than " + std::to_string(kMaxExpansionSteps) +
                            " steps to expand, expected a smaller one");
    }
    steps_left = 0;
    exhausted = true;
    return false;
  }
};

/// Adds the links of a `<pattern>`, or faults. `name` and `spec` are final.
void expand_pattern(const PatternDecl& pattern, const std::string& name, const LinkSpec& spec,
                    Expansion& expansion);

/// As expand(). Where `values_good` is false, some parameter has no trustworthy value: only names are
/// checked. Where `complete` is false, links were left out: a port without a link is no fault.
[[nodiscard]] ExpandResult expand_topology(const Topology& topology, const std::vector<Param>& params,
                                           bool values_good, bool complete, const GraphLimits& limits);

}  // namespace mvm::topologies
