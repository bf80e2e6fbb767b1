#include "mvm/pluglets/lifecycle.h"

#include <algorithm>
#include <array>

namespace mvm::pluglets {
namespace {

constexpr std::array kSteps{
    Step{State::kDeployed, Event::kInit, State::kInitialised},
    Step{State::kDeployed, Event::kFail, State::kFailed},
    Step{State::kInitialised, Event::kStart, State::kStarted},
    Step{State::kInitialised, Event::kFail, State::kFailed},
    Step{State::kInitialised, Event::kDestroy, State::kDestroyed},
    Step{State::kStarted, Event::kStop, State::kStopped},
    Step{State::kStarted, Event::kSuspend, State::kSuspended},
    Step{State::kStarted, Event::kFail, State::kFailed},
    Step{State::kSuspended, Event::kResume, State::kStarted},
    Step{State::kSuspended, Event::kStop, State::kStopped},
    Step{State::kSuspended, Event::kFail, State::kFailed},
    Step{State::kStopped, Event::kStart, State::kStarted},
    Step{State::kStopped, Event::kFail, State::kFailed},
    Step{State::kStopped, Event::kDestroy, State::kDestroyed},
    Step{State::kFailed, Event::kDestroy, State::kDestroyed},
};

constexpr std::array<std::string_view, 7> kStates{"deployed", "initialised", "started",  "suspended",
                                                  "stopped",  "failed",      "destroyed"};
constexpr std::array<std::string_view, 7> kEvents{"init",   "start",   "stop", "suspend",
                                                  "resume", "destroy", "fail"};

}  // namespace

std::span<const Step> life_steps() { return kSteps; }

std::optional<State> next_state(State state, Event event) {
  const auto found = std::find_if(kSteps.begin(), kSteps.end(), [&](const Step& step) {
    return step.from == state && step.event == event;
  });
  return found == kSteps.end() ? std::nullopt : std::optional(found->to);
}

std::string_view to_string(State state) { return kStates.at(static_cast<std::size_t>(state)); }
std::string_view to_string(Event event) { return kEvents.at(static_cast<std::size_t>(event)); }

std::optional<Event> event_from(std::string_view text) {
  for (const Event event : {Event::kStart, Event::kStop, Event::kSuspend, Event::kResume, Event::kDestroy})
    if (to_string(event) == text) return event;
  return std::nullopt;
}

}  // namespace mvm::pluglets
