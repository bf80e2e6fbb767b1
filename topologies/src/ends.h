#pragma once
// Ends as files write them: "cell[0].in", "cell[i+1].peer[*]", "cell[1..3].in sink.in".

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fault_list.h"
#include "mvm/topologies/graph.h"
#include "values.h"

namespace mvm::topologies {

/// What stands between brackets, compiled.
struct IndexSpec {
  enum class Kind { kNone, kAll, kOne, kRange };
  Kind kind = Kind::kNone;
  std::optional<BoundExpression> first, last;
};

/// Reads an index: empty, "*", "expression" or "first..last". `inside` starts at `offset` of `text`.
[[nodiscard]] std::optional<IndexSpec> read_index(std::string_view inside, const Text& text,
                                                  std::size_t offset, const std::vector<Param>& params,
                                                  const std::vector<std::string>& loop, FaultList& faults);

/// First index and number of indices, within `count`. An Error where it is out of range; `what` names the
/// thing indexed, e.g. "role 'cell'" with "processes".
struct Indexed {
  std::string_view what;
  std::string_view unit;
  std::uint32_t count = 0;
};
struct IndexRange {
  std::uint32_t first = 0;
  std::uint32_t size = 0;
};
[[nodiscard]] Result<IndexRange> evaluate_index(const IndexSpec& index, const Indexed& indexed,
                                                std::span<const std::int64_t> loop);

/// One part of a list of ends, with its names looked up.
struct EndSpec {
  Text text;
  const Role* role = nullptr;
  const Port* port = nullptr;
  IndexSpec process, slot;
};

/// Reads a blank-separated list of ends of this direction. Adds faults: unknown role or port, wrong
/// direction, bad index. Empty where there was a fault.
[[nodiscard]] std::vector<EndSpec> read_ends(const Text& text, Direction direction, const Graph& graph,
                                             const std::vector<Param>& params,
                                             const std::vector<std::string>& loop, FaultList& faults);

/// Reads a list of processes: "cell[0]", "cell[*]", "source" (a role of one process), separated by blanks.
[[nodiscard]] std::vector<ProcessId> read_processes(const Text& text, const Graph& graph,
                                                    const std::vector<Param>& params, FaultList& faults);

/// Appends the ends that `spec` means in this turn of the loop.
[[nodiscard]] Status collect_ends(const EndSpec& spec, std::span<const std::int64_t> loop,
                                  std::vector<End>& out, std::uint64_t most);

/// Looks a role up; null with a fault (and near miss) where there is none.
[[nodiscard]] const Role* require_role(const Graph& graph, std::string_view name, const SourcePosition& where,
                                       FaultList& faults);

/// Looks a port of this direction up; null with a fault where there is none or it has the other direction.
[[nodiscard]] const Port* require_port(const Role& role, std::string_view name, Direction direction,
                                       const SourcePosition& where, FaultList& faults);

}  // namespace mvm::topologies
