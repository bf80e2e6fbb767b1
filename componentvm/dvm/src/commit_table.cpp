#include "mvm/dvm/commit_table.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace mvm::dvm {
namespace {

constexpr std::array kSteps{
    Step{Phase::kNew, Happening::kBegun, Phase::kPreparing, {Effect::kPrepare}, 1},
    Step{Phase::kPreparing, Happening::kAble, Phase::kPreparing, {Effect::kDecideCommit}, 1},
    Step{Phase::kPreparing, Happening::kUnable, Phase::kPreparing, {Effect::kDecideAbort}, 1},
    Step{Phase::kPreparing, Happening::kCommit, Phase::kCommitted, {Effect::kTell}, 1},
    Step{Phase::kPreparing, Happening::kAbort, Phase::kAborted, {Effect::kTell}, 1},
    Step{
        Phase::kCommitted, Happening::kAcknowledged, Phase::kFinished, {Effect::kAnswer, Effect::kFinish}, 2},
    Step{Phase::kAborted, Happening::kAcknowledged, Phase::kFinished, {Effect::kAnswer, Effect::kFinish}, 2},
};

struct PhaseName {
  Phase phase;
  const char* name;
};
constexpr std::array kPhases{PhaseName{Phase::kNew, "new"}, PhaseName{Phase::kPreparing, "preparing"},
                             PhaseName{Phase::kCommitted, "committed"}, PhaseName{Phase::kAborted, "aborted"},
                             PhaseName{Phase::kFinished, "finished"}};

constexpr std::array kEffects{Effect::kPrepare, Effect::kDecideCommit, Effect::kDecideAbort,
                              Effect::kTell,    Effect::kFinish,       Effect::kAnswer};

/// What a kernel does by itself.
constexpr std::array kKernelSteps{"hold", "vote", "carry-out", "acknowledge"};

}  // namespace

std::span<const Step> commit_steps() { return kSteps; }

const Step* commit_step(Phase phase, Happening happening) {
  const auto* found = std::find_if(kSteps.begin(), kSteps.end(), [&](const Step& step) {
    return step.from == phase && step.happening == happening;
  });
  return found == kSteps.end() ? nullptr : found;
}

std::string_view to_string(Phase phase) {
  return std::find_if(kPhases.begin(), kPhases.end(),
                      [&](const PhaseName& one) { return one.phase == phase; })
      ->name;
}

std::string_view to_string(Effect effect) {
  switch (effect) {
    case Effect::kPrepare:
      return "prepare";
    case Effect::kDecideCommit:
      return "decide-commit";
    case Effect::kDecideAbort:
      return "decide-abort";
    case Effect::kTell:
      return "tell";
    case Effect::kFinish:
      return "finish";
    case Effect::kAnswer:
      return "answer";
  }
  return "prepare";
}

Result<Phase> phase_from(std::string_view text) {
  for (const PhaseName& one : kPhases)
    if (text == one.name) return one.phase;
  return Error(ErrorCode::kCorrupt, "phase: found \"" + std::string(text.substr(0, 40)) + "\"");
}

Outcome outcome(Qos qos, const Poll& poll) {
  const bool answered = poll.late || poll.able + poll.unable >= poll.asked;
  const bool enough = qos == Qos::kAllOrNone ? poll.able == poll.asked && poll.asked > 0 : poll.able > 0;
  return {answered, enough ? Happening::kAble : Happening::kUnable};
}

std::vector<std::string> list_crash_points() {
  std::vector<std::string> points;
  const auto add = [&](std::string_view name) {
    for (const char* phase : {":before", ":after"}) points.push_back(std::string(name) + phase);
  };
  for (const Effect effect : kEffects) add(to_string(effect));
  for (const char* step : kKernelSteps) add(step);
  return points;
}

Result<CrashPoint> CrashPoint::parse(std::string_view where) {
  CrashPoint point;
  if (where.empty()) return point;
  const auto known = list_crash_points();
  if (std::find(known.begin(), known.end(), where) == known.end())
    return Error(ErrorCode::kInvalid, "crash point: \"" + std::string(where.substr(0, 60)) + "\" is unknown");
  point.armed_ = where;
  return point;
}

void CrashPoint::pass(std::string_view name, std::string_view phase) const {
  if (armed_.empty() || armed_.size() != name.size() + 1 + phase.size()) return;
  if (!std::string_view(armed_).starts_with(name) || !std::string_view(armed_).ends_with(phase)) return;
  ::kill(::getpid(), SIGKILL);
  ::_exit(137);
}

}  // namespace mvm::dvm
