#pragma once
// The life of a pluglet as a table: (State, Event) -> State. [004, sl. 14]

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace mvm::pluglets {

enum class State : std::uint8_t {
  kDeployed,     ///< made, and knows nothing yet
  kInitialised,  ///< init() went well: it can start
  kStarted,      ///< serves
  kSuspended,    ///< keeps what it has, and serves nobody
  kStopped,      ///< can start again
  kFailed,       ///< one of its methods failed: it can only be destroyed
  kDestroyed,
};

enum class Event : std::uint8_t { kInit, kStart, kStop, kSuspend, kResume, kDestroy, kFail };

struct Step {
  State from;
  Event event;
  State to;
};

/// All rows; what is not among them is refused.
[[nodiscard]] std::span<const Step> life_steps();
/// Nothing: not in this state.
[[nodiscard]] std::optional<State> next_state(State state, Event event);

[[nodiscard]] std::string_view to_string(State state);
[[nodiscard]] std::string_view to_string(Event event);
/// "start", "stop", "suspend", "resume", "destroy": what can be asked for.
[[nodiscard]] std::optional<Event> event_from(std::string_view text);

}  // namespace mvm::pluglets
