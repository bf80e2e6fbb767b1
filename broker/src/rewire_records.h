#pragma once
// What the store holds of rewirings. docs/formats/state.md.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/broker/rewire_machine.h"
#include "mvm/topologies/graph.h"

namespace mvm::broker {

/// One rewiring that was asked for.
struct RewireEntry {
  std::uint64_t number = 0;  ///< from 1, of the job
  std::string outcome;       ///< "switched", "undone"; empty: under way
  std::string reason;        ///< why it was undone
  std::uint32_t added = 0, removed = 0, redirected = 0, changed = 0, unchanged = 0;  ///< links
};
inline constexpr std::size_t kKeptRewirings = 32;

/// `rewires/JOB`
struct RewireRecord {
  std::uint32_t attempt = 0;  ///< whose wiring it is
  RewireState state = RewireState::kSteady;
  std::uint64_t generation = 1;      ///< the latest that was given to a domain
  std::int64_t deadline_ms = 0;      ///< wall clock: prepared by then, or undone
  std::vector<RewireEntry> entries;  ///< the last kKeptRewirings
};

[[nodiscard]] std::string encode(const RewireRecord& record);
[[nodiscard]] Result<RewireRecord> decode_rewire(std::string_view text);

/// An expanded topology as text: what a running job's links are once they are not its file's any more.
[[nodiscard]] std::string encode(const topologies::Graph& graph);
[[nodiscard]] Result<topologies::Graph> decode_graph(std::string_view text);

}  // namespace mvm::broker
