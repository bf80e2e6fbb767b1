#include "mvm/broker/job_machine.h"

#include "job_tables.h"

namespace mvm::broker {
namespace {

template <class Enum, std::size_t N>
std::optional<Enum> find_name(const std::array<std::string_view, N>& names, std::string_view name) {
  for (std::size_t i = 0; i < N; ++i)
    if (names[i] == name) return static_cast<Enum>(i);
  return std::nullopt;
}

}  // namespace

std::string_view to_string(JobState state) { return tables::kStateNames[static_cast<std::size_t>(state)]; }
std::string_view to_string(Outcome outcome) {
  return tables::kOutcomeNames[static_cast<std::size_t>(outcome)];
}
std::string_view to_string(JobEvent event) { return tables::kEventNames[static_cast<std::size_t>(event)]; }
std::string_view to_string(Effect effect) {
  return tables::kEffectTable[static_cast<std::size_t>(effect)].name;
}

std::optional<JobState> job_state_from(std::string_view name) {
  return find_name<JobState>(tables::kStateNames, name);
}
std::optional<Outcome> outcome_from(std::string_view name) {
  return find_name<Outcome>(tables::kOutcomeNames, name);
}

std::span<const Effect> entry_effects(const JobCore& core) {
  for (const auto& row : tables::kEntryTable)
    if (row.state == core.state && (core.state != JobState::kCollecting || row.outcome == core.outcome))
      return {row.effects.data(), row.count};
  return {};
}

Step step(const JobCore& core, JobEvent event) {
  for (const auto& row : tables::kTransitionTable) {
    if (!tables::matches(row, core.state, core.outcome, event, core.retries_left > 0)) continue;
    JobCore next{
        .state = row.to, .outcome = row.outcome, .attempt = core.attempt, .retries_left = core.retries_left};
    if (row.to == JobState::kSubmitted) {
      ++next.attempt;
      --next.retries_left;
    }
    return {.next = next, .changed = true, .effects = entry_effects(next)};
  }
  return {.next = core, .changed = false, .effects = {}};
}

std::span<const TransitionRow> transition_table() { return tables::kTransitionTable; }
std::span<const EffectRow> effect_table() { return tables::kEffectTable; }
std::span<const EntryRow> entry_table() { return tables::kEntryTable; }

}  // namespace mvm::broker
