#pragma once
// A job's life as tables: states, events, effects. Pure: (state, event) -> (state, effects).

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mvm::broker {

enum class JobState : std::uint8_t {
  kSubmitted,   ///< waits for a plan; no attempt is alive
  kPlanned,     ///< has nodes on paper; the lab is being loaded on its hosts
  kBuilding,    ///< what the compile cache lacks is compiled in nodes of the attempt
  kBooting,     ///< all nodes come up; binaries and staged files are sent
  kWiring,      ///< queues and proxies are made
  kRunning,     ///< processes run
  kCollecting,  ///< results are fetched, the attempt is reaped; the outcome is known
  kDone,
  kFailed,
  kCancelled,
};
inline constexpr std::size_t kJobStates = 10;

/// What COLLECTING leads to.
enum class Outcome : std::uint8_t { kNone, kDone, kFailed, kCancelled, kRetry };
inline constexpr std::size_t kOutcomes = 5;

enum class JobEvent : std::uint8_t {
  kPlanned,      ///< a plan was made (and is durable with this event's transition)
  kEffectsDone,  ///< all effects of the present state succeeded
  kEndedWell,    ///< every process ended with 0
  kEndedBadly,   ///< every process ended, some not with 0
  kFault,        ///< of the infrastructure: node lost, host unreachable, kernel lost
  kJobFault,     ///< of the job itself: failed build, missing result
  kCancel,       ///< somebody asked
  kWallTime,     ///< its time is over
};
inline constexpr std::size_t kJobEvents = 8;

/// What is done to the world. Every one may be repeated.
enum class Effect : std::uint8_t {
  kPlan,          ///< offer the job to the scheduler
  kEnsureLab,     ///< load the lab on every host of the plan
  kBootBuilders,  ///< boot the nodes that will compile
  kBuild,         ///< compile what the cache lacks
  kBootNodes,     ///< boot all nodes, in parallel
  kDeliver,       ///< send programs and staged files, in parallel
  kWire,          ///< make queues and proxies
  kPrepare,       ///< make its processes, up to the execution of their programs
  kStart,         ///< start every process at once
  kCollect,       ///< fetch results into the store
  kTeardown,      ///< end whatever is left of the attempt, and be sure of it
};
inline constexpr std::size_t kEffects = 11;

[[nodiscard]] std::string_view to_string(JobState state);   ///< "SUBMITTED"
[[nodiscard]] std::string_view to_string(Outcome outcome);  ///< "retry"
[[nodiscard]] std::string_view to_string(JobEvent event);   ///< "effects-done"
[[nodiscard]] std::string_view to_string(Effect effect);    ///< "boot-nodes"
[[nodiscard]] std::optional<JobState> job_state_from(std::string_view name);
[[nodiscard]] std::optional<Outcome> outcome_from(std::string_view name);

[[nodiscard]] constexpr bool is_terminal(JobState state) { return state >= JobState::kDone; }
/// True where something of an attempt may exist on a host.
[[nodiscard]] constexpr bool may_be_alive(JobState state) {
  return state > JobState::kSubmitted && state < JobState::kDone;
}

/// What the machine knows of a job.
struct JobCore {
  JobState state = JobState::kSubmitted;
  Outcome outcome = Outcome::kNone;  ///< set in COLLECTING and in the final states
  std::uint32_t attempt = 1;         ///< the present or next one, from 1
  std::uint32_t retries_left = 0;
  bool operator==(const JobCore&) const = default;
};

/// The answer of the machine.
struct Step {
  JobCore next;
  bool changed = false;             ///< false: the event means nothing in this state
  std::span<const Effect> effects;  ///< to be started, one after the other, once `next` is durable
};

/// The transition for an event.
[[nodiscard]] Step step(const JobCore& core, JobEvent event);
/// The effects of being in a state, to be started over after a crash.
[[nodiscard]] std::span<const Effect> entry_effects(const JobCore& core);

// ---- the tables, for crash points and tests

/// When a transition applies.
enum class Guard : std::uint8_t { kAlways, kRetriesLeft, kNoRetriesLeft };

struct TransitionRow {
  JobState from;
  std::optional<Outcome> from_outcome;  ///< of COLLECTING; none: any
  JobEvent event;
  Guard guard;
  JobState to;
  Outcome outcome;
};

struct EffectRow {
  Effect effect;
  std::string_view name;
};

struct EntryRow {
  JobState state;
  Outcome outcome;  ///< of COLLECTING; kNone elsewhere
  std::array<Effect, 2> effects;
  std::size_t count;
};

[[nodiscard]] std::span<const TransitionRow> transition_table();
[[nodiscard]] std::span<const EffectRow> effect_table();
[[nodiscard]] std::span<const EntryRow> entry_table();

}  // namespace mvm::broker
