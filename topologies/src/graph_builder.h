#pragma once
// Builds a Graph: roles first, then links group by group.

#include <map>
#include <span>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/topologies/graph.h"
#include "mvm/topologies/limits.h"

namespace mvm::topologies {

class GraphBuilder {
 public:
  GraphBuilder(std::string name, const GraphLimits& limits) : limits_(limits) {
    graph_.name_ = std::move(name);
  }

  [[nodiscard]] const GraphLimits& limits() const { return limits_; }

  /// Adds a role; the builder numbers its processes and slots. kExhausted beyond the limits.
  [[nodiscard]] Status add_role(Role role);
  /// Ends the roles and starts the links.
  void roles_done();

  [[nodiscard]] const Graph& graph() const { return graph_; }

  /// Starts the links of one `<link>` or `<pattern>`; a name that is taken gets a number.
  void begin_group(const std::string& name, bool indexed, const LinkSpec& spec);
  /// One queue. kConflict, naming the end, where an out slot is linked already; kExhausted beyond the limits.
  [[nodiscard]] Status add_link(std::span<const End> producers, std::span<const End> consumers);
  [[nodiscard]] Status add_link(End from, End to) { return add_link({&from, 1}, {&to, 1}); }

  /// Sorts the links by slot. The builder is done with.
  [[nodiscard]] Graph finish();

 private:
  [[nodiscard]] std::uint64_t global_slot(End end) const;

  const GraphLimits limits_;
  Graph graph_;
  std::map<std::string, int> group_names_;  ///< and the last number each was given
  std::vector<bool> out_taken_;             ///< by global slot
};

}  // namespace mvm::topologies
