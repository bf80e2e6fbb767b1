#include "mvm/broker/crash_point.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "job_tables.h"
#include "mvm/base/log.h"
#include "mvm/base/number.h"
#include "mvm/broker/rewire_machine.h"

namespace mvm::broker {
namespace {

void kill_self() {
  ::kill(::getpid(), SIGKILL);
  ::_exit(137);
}

}  // namespace

std::vector<std::string> list_crash_points() {
  std::vector<std::string> points;
  for (const auto& row : tables::kEffectTable)
    for (const auto phase : tables::kEffectPhases)
      points.push_back(std::string(row.name) + ":" + std::string(phase));
  for (const auto& row : rewire_effects())
    for (const auto phase : tables::kEffectPhases)
      points.push_back(std::string(row.name) + ":" + std::string(phase));
  std::vector<std::string> transitions;
  for (const auto& row : rewire_transitions())
    for (const auto phase : tables::kTransitionPhases)
      transitions.push_back(std::string(to_string(row.from)) + ">" + std::string(to_string(row.to)) + ":" +
                            std::string(phase));
  for (const auto& row : tables::kTransitionTable)
    for (const auto phase : tables::kTransitionPhases)
      transitions.push_back(std::string(to_string(row.from)) + ">" + std::string(to_string(row.to)) + ":" +
                            std::string(phase));
  std::sort(transitions.begin(), transitions.end());
  transitions.erase(std::unique(transitions.begin(), transitions.end()), transitions.end());
  points.insert(points.end(), transitions.begin(), transitions.end());
  return points;
}

Result<CrashPoints> CrashPoints::parse(std::string_view where, Death death) {
  CrashPoints points;
  if (where.empty()) return points;
  if (where == "none") {
    points.told_ = true;
    return points;
  }
  std::string_view name = where;
  points.remaining_ = 1;
  const auto first = where.find(':');
  const auto second = first == std::string_view::npos ? first : where.find(':', first + 1);
  if (second != std::string_view::npos) {
    name = where.substr(0, second);
    const auto number = where.substr(second + 1);
    points.remaining_ = whole_number<unsigned>(number).value_or(0);
    if (points.remaining_ == 0)
      return Error(ErrorCode::kInvalid,
                   "crash point: found '" + std::string(number) + "', expected a number from 1");
  }
  const auto known = list_crash_points();
  if (std::find(known.begin(), known.end(), name) == known.end())
    return Error(ErrorCode::kInvalid, "crash point: '" + std::string(name) + "' is unknown");
  points.armed_ = name;
  points.death_ = death ? std::move(death) : Death(&kill_self);
  return points;
}

void CrashPoints::pass(std::string_view name, std::string_view phase) {
  if (told_) log::info("crash.passed", {{"point", std::string(name) + ":" + std::string(phase)}});
  if (armed_.empty() || armed_.size() != name.size() + 1 + phase.size()) return;
  const std::string_view armed(armed_);
  if (!armed.starts_with(name) || armed[name.size()] != ':' || !armed.ends_with(phase)) return;
  if (--remaining_ > 0) return;
  armed_.clear();
  death_();
}

}  // namespace mvm::broker
