#pragma once
// What the store holds of rewirings. docs/formats/state.md.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/broker/rewire_machine.h"
#include "mvm/topologies/graph.h"
#include "records.h"

namespace mvm::broker {

/// One rewiring that was asked for.
struct RewireEntry {
  std::uint64_t number = 0;  ///< from 1, of the job
  std::string outcome;       ///< "switched", "undone"; empty: under way
  std::string reason;        ///< why it was undone
  std::uint32_t added = 0, removed = 0, redirected = 0, changed = 0, unchanged = 0;  ///< links
  std::uint32_t started = 0, left = 0;                                               ///< processes
};
inline constexpr std::size_t kKeptRewirings = 32;

/// A process that comes or goes with a rewiring.
struct MovingProcess {
  std::string process;           ///< its tag
  std::uint32_t node = 0;        ///< in the plan
  std::int64_t deadline_ms = 0;  ///< of one that goes, wall clock: has ended by then, or is ended
  std::optional<EndRecord> end;
};
/// So many may be on their way in or out.
inline constexpr std::size_t kMostMoving = 4096;
/// Of those that have left, so many are kept; those that failed go last.
inline constexpr std::size_t kKeptLeavers = 256;

/// `rewires/JOB`
struct RewireRecord {
  std::uint32_t attempt = 0;  ///< whose wiring it is
  RewireState state = RewireState::kSteady;
  std::uint64_t generation = 1;  ///< the latest that was given to a domain
  std::int64_t deadline_ms = 0;  ///< wall clock: prepared by then, or undone
  std::int64_t patience_ms = 0;  ///< how long that was; as long may processes take that leave
  std::vector<MovingProcess>
      newcomers;                       ///< of the rewiring under way: started with it, ended with its undoing
  std::vector<MovingProcess> leavers;  ///< of all rewirings of the attempt
  std::vector<RewireEntry> entries;    ///< the last kKeptRewirings
};

[[nodiscard]] std::string encode(const RewireRecord& record);
[[nodiscard]] Result<RewireRecord> decode_rewire(std::string_view text);

/// An expanded topology as text: what a running job's links are once they are not its file's any more.
[[nodiscard]] std::string encode(const topologies::Graph& graph);
[[nodiscard]] Result<topologies::Graph> decode_graph(std::string_view text);

}  // namespace mvm::broker
