#pragma once
// The tables of the job machine and what the compiler checks about them.

#include "mvm/broker/job_machine.h"

namespace mvm::broker::tables {

inline constexpr std::array<std::string_view, kJobStates> kStateNames = {
    "SUBMITTED", "PLANNED",    "BUILDING", "BOOTING", "WIRING",
    "RUNNING",   "COLLECTING", "DONE",     "FAILED",  "CANCELLED"};
inline constexpr std::array<std::string_view, kOutcomes> kOutcomeNames = {"", "done", "failed", "cancelled",
                                                                          "retry"};
inline constexpr std::array<std::string_view, kJobEvents> kEventNames = {
    "planned", "effects-done", "ended-well", "ended-badly", "fault", "job-fault", "cancel", "wall-time"};

/// One row for each effect, in the order of the enumeration. Its name is the name of its crash points.
inline constexpr std::array<EffectRow, kEffects> kEffectTable = {{
    {Effect::kPlan, "plan"},
    {Effect::kEnsureLab, "ensure-lab"},
    {Effect::kBootBuilders, "boot-builders"},
    {Effect::kBuild, "build"},
    {Effect::kBootNodes, "boot-nodes"},
    {Effect::kDeliver, "deliver"},
    {Effect::kWire, "wire"},
    {Effect::kPrepare, "prepare"},
    {Effect::kStart, "start"},
    {Effect::kCollect, "collect"},
    {Effect::kTeardown, "teardown"},
}};

/// Where an effect can be crashed: before it, after its first part, after all of it but before its result is
/// known.
inline constexpr std::array<std::string_view, 3> kEffectPhases = {"before", "partial", "after"};
/// Where a transition can be crashed: before its commit and after it.
inline constexpr std::array<std::string_view, 2> kTransitionPhases = {"uncommitted", "committed"};

inline constexpr std::array<EntryRow, 11> kEntryTable = {{
    {JobState::kSubmitted, Outcome::kNone, {Effect::kPlan}, 1},
    {JobState::kPlanned, Outcome::kNone, {Effect::kEnsureLab}, 1},
    {JobState::kBuilding, Outcome::kNone, {Effect::kBootBuilders, Effect::kBuild}, 2},
    {JobState::kBooting, Outcome::kNone, {Effect::kBootNodes, Effect::kDeliver}, 2},
    {JobState::kWiring, Outcome::kNone, {Effect::kWire, Effect::kPrepare}, 2},
    {JobState::kRunning, Outcome::kNone, {Effect::kStart}, 1},
    {JobState::kCollecting, Outcome::kDone, {Effect::kCollect, Effect::kTeardown}, 2},
    {JobState::kCollecting, Outcome::kFailed, {Effect::kCollect, Effect::kTeardown}, 2},
    {JobState::kCollecting, Outcome::kCancelled, {Effect::kTeardown}, 1},
    {JobState::kCollecting, Outcome::kRetry, {Effect::kTeardown}, 1},
    {JobState::kDone, Outcome::kNone, {}, 0},
}};

namespace rows {
using S = JobState;
using O = Outcome;
using E = JobEvent;
using G = Guard;

/// The rows shared by the states between PLANNED and RUNNING.
constexpr std::array<TransitionRow, 4> leaving(S from) {
  return {{{from, {}, E::kFault, G::kAlways, S::kCollecting, O::kRetry},
           {from, {}, E::kJobFault, G::kAlways, S::kCollecting, O::kFailed},
           {from, {}, E::kCancel, G::kAlways, S::kCollecting, O::kCancelled},
           {from, {}, E::kWallTime, G::kAlways, S::kCollecting, O::kFailed}}};
}

inline constexpr std::array<TransitionRow, 17> kOwn = {{
    {S::kSubmitted, {}, E::kPlanned, G::kAlways, S::kPlanned, O::kNone},
    {S::kSubmitted, {}, E::kJobFault, G::kAlways, S::kFailed, O::kFailed},
    {S::kSubmitted, {}, E::kCancel, G::kAlways, S::kCancelled, O::kCancelled},
    {S::kPlanned, {}, E::kEffectsDone, G::kAlways, S::kBuilding, O::kNone},
    {S::kBuilding, {}, E::kEffectsDone, G::kAlways, S::kBooting, O::kNone},
    {S::kBooting, {}, E::kEffectsDone, G::kAlways, S::kWiring, O::kNone},
    {S::kWiring, {}, E::kEffectsDone, G::kAlways, S::kRunning, O::kNone},
    {S::kRunning, {}, E::kEndedWell, G::kAlways, S::kCollecting, O::kDone},
    {S::kRunning, {}, E::kEndedBadly, G::kAlways, S::kCollecting, O::kFailed},
    {S::kCollecting, O::kDone, E::kEffectsDone, G::kAlways, S::kDone, O::kDone},
    {S::kCollecting, O::kFailed, E::kEffectsDone, G::kAlways, S::kFailed, O::kFailed},
    {S::kCollecting, O::kCancelled, E::kEffectsDone, G::kAlways, S::kCancelled, O::kCancelled},
    {S::kCollecting, O::kRetry, E::kEffectsDone, G::kRetriesLeft, S::kSubmitted, O::kNone},
    {S::kCollecting, O::kRetry, E::kEffectsDone, G::kNoRetriesLeft, S::kFailed, O::kFailed},
    // Results that went with their node before they were fetched: the work is done again.
    {S::kCollecting, O::kDone, E::kFault, G::kAlways, S::kCollecting, O::kRetry},
    {S::kCollecting, O::kDone, E::kJobFault, G::kAlways, S::kCollecting, O::kFailed},
    {S::kCollecting, O::kRetry, E::kCancel, G::kAlways, S::kCollecting, O::kCancelled},
}};

constexpr auto all() {
  std::array<TransitionRow, kOwn.size() + 5 * 4> result{};
  std::size_t next = 0;
  for (const auto& row : kOwn) result[next++] = row;
  for (const auto state : {S::kPlanned, S::kBuilding, S::kBooting, S::kWiring, S::kRunning})
    for (const auto& row : leaving(state)) result[next++] = row;
  return result;
}
}  // namespace rows

inline constexpr auto kTransitionTable = rows::all();

// ---- what must hold, or the build fails

/// Every effect has its row, and so its name and its crash points.
constexpr bool effects_complete() {
  for (std::size_t i = 0; i < kEffectTable.size(); ++i)
    if (static_cast<std::size_t>(kEffectTable[i].effect) != i || kEffectTable[i].name.empty()) return false;
  for (const auto& entry : kEntryTable)
    for (std::size_t i = 0; i < entry.count; ++i)
      if (static_cast<std::size_t>(entry.effects[i]) >= kEffects) return false;
  return true;
}
static_assert(effects_complete(), "an effect has no row in kEffectTable, and so no crash point");

/// Every effect belongs to some state: none can be started without a durable transition before it.
constexpr bool effects_used() {
  for (const auto& row : kEffectTable) {
    bool used = false;
    for (const auto& entry : kEntryTable)
      for (std::size_t i = 0; i < entry.count; ++i) used = used || entry.effects[i] == row.effect;
    if (!used) return false;
  }
  return true;
}
static_assert(effects_used(), "an effect belongs to no state");

constexpr bool matches(const TransitionRow& row, JobState state, Outcome outcome, JobEvent event,
                       bool retries) {
  return row.from == state && row.event == event && (!row.from_outcome || *row.from_outcome == outcome) &&
         (row.guard == Guard::kAlways || (row.guard == Guard::kRetriesLeft) == retries);
}

/// At most one row for any state and event, and none that leaves a final state.
constexpr bool deterministic() {
  for (std::size_t s = 0; s < kJobStates; ++s)
    for (std::size_t o = 0; o < kOutcomes; ++o)
      for (std::size_t e = 0; e < kJobEvents; ++e)
        for (const bool retries : {false, true}) {
          int found = 0;
          for (const auto& row : kTransitionTable)
            if (matches(row, static_cast<JobState>(s), static_cast<Outcome>(o), static_cast<JobEvent>(e),
                        retries))
              ++found;
          if (found > 1 || (found > 0 && is_terminal(static_cast<JobState>(s)))) return false;
        }
  return true;
}
static_assert(deterministic(), "two transitions for one state and event, or one that leaves a final state");

}  // namespace mvm::broker::tables
