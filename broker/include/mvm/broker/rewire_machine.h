#pragma once
// How the wiring of a running job changes, as tables: states, events, effects. Pure. [MVM 003, §3.2]
//
// Until PREPARING, or STARTING, has become SWITCHING, whatever happens ends in the old wiring; from then on,
// in the new one.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace mvm::broker {

enum class RewireState : std::uint8_t {
  kSteady,     ///< every domain has the job's wiring; links that are gone may be draining
  kPreparing,  ///< what the next wiring needs is made in every domain; no process sees it
  kStarting,   ///< its new processes are started, at the new queues; no other process sees these
  kSwitching,  ///< the next wiring is the job's: every domain gets it, however long that takes
  kUndoing,    ///< what was prepared is removed, who was started is ended
  kSweeping,   ///< what is drained is removed, and who has left
};
inline constexpr std::size_t kRewireStates = 6;

enum class RewireEvent : std::uint8_t {
  kAsked,        ///< a new wiring was asked for (and is durable with this event's transition)
  kEffectsDone,  ///< the effect of the present state succeeded
  kToStart,      ///< it is prepared, and has new processes
  kFailed,       ///< it cannot be prepared, or not in time, or a new process failed
  kDrained,      ///< links that are gone have nothing left to deliver, or a process has left
  kJobLeft,      ///< the job, or this attempt of it, does not run any more
};
inline constexpr std::size_t kRewireEvents = 6;

/// What is done to the world, in every domain. Every one may be repeated.
enum class RewireEffect : std::uint8_t { kPrepare, kStart, kSwitch, kUndo, kSweep };
inline constexpr std::size_t kRewireEffects = 5;

[[nodiscard]] std::string_view to_string(RewireState state);    ///< "PREPARING"
[[nodiscard]] std::string_view to_string(RewireEffect effect);  ///< "rewire-prepare"
[[nodiscard]] std::optional<RewireState> rewire_state_from(std::string_view name);

/// The state after an event; none where the event means nothing in this state.
[[nodiscard]] std::optional<RewireState> step(RewireState state, RewireEvent event);
/// What is to be done in a state, over again after a crash; none in kSteady.
[[nodiscard]] std::optional<RewireEffect> effect_of(RewireState state);

// ---- the tables, for crash points and tests

struct RewireRow {
  RewireState from;
  RewireEvent event;
  RewireState to;
};
struct RewireEffectRow {
  RewireEffect effect;
  std::string_view name;
  RewireState state;  ///< in which it is done
};
[[nodiscard]] std::span<const RewireRow> rewire_transitions();
[[nodiscard]] std::span<const RewireEffectRow> rewire_effects();

}  // namespace mvm::broker
