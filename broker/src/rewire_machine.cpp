#include "mvm/broker/rewire_machine.h"

namespace mvm::broker {
namespace {

using S = RewireState;
using E = RewireEvent;

constexpr std::array<std::string_view, kRewireStates> kNames = {"STEADY",    "PREPARING", "STARTING",
                                                                "SWITCHING", "UNDOING",   "SWEEPING"};

/// In the order of the enumeration.
constexpr std::array<RewireEffectRow, kRewireEffects> kEffectTable = {{
    {RewireEffect::kPrepare, "rewire-prepare", S::kPreparing},
    {RewireEffect::kStart, "rewire-start", S::kStarting},
    {RewireEffect::kSwitch, "rewire-switch", S::kSwitching},
    {RewireEffect::kUndo, "rewire-undo", S::kUndoing},
    {RewireEffect::kSweep, "rewire-sweep", S::kSweeping},
}};

constexpr std::array<RewireRow, 15> kTransitions = {{
    {S::kSteady, E::kAsked, S::kPreparing},
    {S::kPreparing, E::kEffectsDone, S::kSwitching},
    {S::kPreparing, E::kToStart, S::kStarting},
    {S::kPreparing, E::kFailed, S::kUndoing},
    {S::kStarting, E::kEffectsDone, S::kSwitching},
    {S::kStarting, E::kFailed, S::kUndoing},
    {S::kSwitching, E::kEffectsDone, S::kSteady},
    {S::kUndoing, E::kEffectsDone, S::kSteady},
    {S::kSteady, E::kDrained, S::kSweeping},
    {S::kSweeping, E::kEffectsDone, S::kSteady},
    {S::kPreparing, E::kJobLeft, S::kSteady},
    {S::kStarting, E::kJobLeft, S::kSteady},
    {S::kSwitching, E::kJobLeft, S::kSteady},
    {S::kUndoing, E::kJobLeft, S::kSteady},
    {S::kSweeping, E::kJobLeft, S::kSteady},
}};

// ---- what must hold, or the build fails

constexpr bool effects_complete() {
  for (std::size_t i = 0; i < kEffectTable.size(); ++i)
    if (static_cast<std::size_t>(kEffectTable[i].effect) != i || kEffectTable[i].name.empty()) return false;
  for (std::size_t s = 1; s < kRewireStates; ++s) {
    int found = 0;
    for (const auto& row : kEffectTable) found += static_cast<std::size_t>(row.state) == s ? 1 : 0;
    if (found != 1) return false;
  }
  return true;
}
static_assert(effects_complete(), "a state without its one effect, or an effect without a crash point");

constexpr bool sound() {
  for (std::size_t i = 0; i < kTransitions.size(); ++i) {
    for (std::size_t j = i + 1; j < kTransitions.size(); ++j)
      if (kTransitions[i].from == kTransitions[j].from && kTransitions[i].event == kTransitions[j].event)
        return false;
    // Once it is decided, only the job's end keeps it from being carried out.
    if (kTransitions[i].from == S::kSwitching && kTransitions[i].to != S::kSteady) return false;
  }
  return true;
}
static_assert(sound(), "two transitions for one case, or a way back from a decision");

}  // namespace

std::string_view to_string(RewireState state) { return kNames[static_cast<std::size_t>(state)]; }
std::string_view to_string(RewireEffect effect) {
  return kEffectTable[static_cast<std::size_t>(effect)].name;
}

std::optional<RewireState> rewire_state_from(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<RewireState>(i);
  return std::nullopt;
}

std::optional<RewireState> step(RewireState state, RewireEvent event) {
  for (const auto& row : kTransitions)
    if (row.from == state && row.event == event) return row.to;
  return std::nullopt;
}

std::optional<RewireEffect> effect_of(RewireState state) {
  for (const auto& row : kEffectTable)
    if (row.state == state) return row.effect;
  return std::nullopt;
}

std::span<const RewireRow> rewire_transitions() { return kTransitions; }
std::span<const RewireEffectRow> rewire_effects() { return kEffectTable; }

}  // namespace mvm::broker
