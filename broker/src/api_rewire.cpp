// The service's rewirings.

#include <algorithm>

#include "api.h"
#include "jobs.h"
#include "labs.h"
#include "mvm/topologies/rewiring.h"
#include "rewirings.h"
#include "submission.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kMaxEdits = 1000;
constexpr std::chrono::milliseconds kLongestDeadline{3'600'000};
constexpr std::chrono::milliseconds kPatience{5'000};  ///< while another rewiring is under way

/// The job, or the one that runs in the lab, of this name.
Result<Job*> find_target(Core& core, const soap::Caller& caller, const std::string& target) {
  Job* found = core.jobs->find(target);
  if (const auto* lab = found == nullptr ? core.labs->find(target) : nullptr) {
    MVM_TRY(allowed(caller, lab->record.user, target));
    for (const auto& id : lab->jobs) {
      auto* job = core.jobs->find(id);
      if (job == nullptr || job->record.core.state != JobState::kRunning) continue;
      if (found != nullptr)
        return Error(ErrorCode::kConflict, "several jobs run in lab " + target + ": name one of them");
      found = job;
    }
    if (found == nullptr) return Error(ErrorCode::kConflict, "no job runs in lab " + target);
  }
  if (found == nullptr) return Error(ErrorCode::kNotFound, "there is no job or lab " + target);
  MVM_TRY(allowed(caller, found->record.user, found->record.lab));
  return found;
}

Result<topologies::Graph> edited(const topologies::Graph& graph, const soap::LinkEdit& edit) {
  switch (edit.kind) {
    case soap::LinkEdit::Kind::kConnect:
      return topologies::connect(
          graph, {.from = edit.from, .to = edit.to, .name = edit.link, .attributes = edit.attributes});
    case soap::LinkEdit::Kind::kDisconnect:
      return topologies::disconnect(graph, edit.link);
    case soap::LinkEdit::Kind::kSet:
      return topologies::set(graph, {.link = edit.link, .attributes = edit.attributes});
  }
  return Error(ErrorCode::kInvalid, "an unknown kind of change");
}

Result<topologies::Graph> edited(topologies::Graph graph, const std::vector<soap::LinkEdit>& edits) {
  for (const auto& edit : edits) {
    MVM_ASSIGN(graph, edited(graph, edit));
  }
  return graph;
}

soap::RewireView view_of(Core& core, Job& job, const RewireEntry* entry) {
  soap::RewireView view{.job = job.record.id, .lab = job.record.lab, .number = 0, .state = "unchanged"};
  if (entry != nullptr) {
    view.number = entry->number;
    view.state = entry->outcome.empty() ? "preparing" : entry->outcome;
    view.reason = entry->reason;
    view.added = entry->added;
    view.removed = entry->removed;
    view.redirected = entry->redirected;
    view.changed = entry->changed;
    view.unchanged = entry->unchanged;
  }
  if (job.profile && job.plan && core.jobs->know_layout(job))
    for (const auto& leaving : job.layout->leaving)
      if (std::find(view.draining.begin(), view.draining.end(), leaving.link) == view.draining.end())
        view.draining.push_back(leaving.link);
  return view;
}

/// On the loop. None: another rewiring is under way, or the job's processes are being started.
std::optional<Result<soap::RewireView>> begin(Core& core, const soap::Caller& caller,
                                              const soap::RewireRequest& request,
                                              const topologies::Profile* file) {
  auto job = find_target(core, caller, request.target);
  if (!job) return Result<soap::RewireView>(job.error());
  if (core.rewirings->busy(**job) ||
      ((*job)->record.core.state == JobState::kRunning && (*job)->profile && !(*job)->started))
    return std::nullopt;
  if ((*job)->record.core.state != JobState::kRunning || !(*job)->profile)
    return Result<soap::RewireView>(
        Error(ErrorCode::kConflict, "job " + (*job)->record.id + " is " +
                                        std::string(to_string((*job)->record.core.state)) +
                                        "; it can be rewired while it runs"));
  auto graph = file != nullptr ? Result<topologies::Graph>(file->graph)
                               : edited((*job)->profile->graph, request.edits);
  if (!graph) return Result<soap::RewireView>(graph.error());
  auto plan = core.rewirings->plan(**job, std::move(*graph));
  if (!plan) return Result<soap::RewireView>(plan.error());
  const auto steps = plan->steps;
  if (plan->difference.empty()) return view_of(core, **job, nullptr);
  auto view = [&] {
    if (!request.dry_run) {
      const auto number = core.rewirings->begin(**job, std::move(*plan), request.deadline);
      return view_of(core, **job, core.rewirings->find_entry(**job, number));
    }
    const auto entry = entry_of(0, plan->difference);
    auto planned = view_of(core, **job, &entry);
    planned.state = "planned";
    return planned;
  }();
  view.steps = steps;
  return view;
}

}  // namespace

Result<soap::RewireView> LabService::rewire(const soap::Caller& caller, const soap::RewireRequest& request) {
  if (request.edits.size() > kMaxEdits) return Error(ErrorCode::kExhausted, "more than 1000 changes at once");
  if (request.profile.empty() == request.edits.empty())
    return Error(ErrorCode::kInvalid, "found neither a file nor changes, or both; expected one of them");
  if (request.deadline.count() <= 0 || request.deadline > kLongestDeadline)
    return Error(ErrorCode::kInvalid, "deadline: expected up to an hour");
  std::shared_ptr<const topologies::Profile> file;
  if (!request.profile.empty()) {
    const auto read = read_submission({.profile = request.profile,
                                       .settings = request.settings,
                                       .lab = {},
                                       .request = {},
                                       .file = request.file});
    if (!read.profile) return topologies::to_error(read.diagnostics);
    file = read.profile;
    if (file->graph.empty()) return Error(ErrorCode::kInvalid, request.file + ": found no topology");
  }
  // One after the other: whoever comes while the job is being rewired, or started, waits for that.
  return core_.ask_until(
      std::min(request.deadline, kPatience),
      [this, caller, request, file] { return begin(core_, caller, request, file.get()); },
      [&]() -> Result<soap::RewireView> {
        return Error(ErrorCode::kConflict,
                     "job " + request.target + " is still being started or rewired; try again");
      });
}

Result<soap::RewireView> LabService::rewiring(const soap::Caller& caller, const std::string& id,
                                              std::uint64_t number, std::chrono::milliseconds wait) {
  const auto answer = [this, caller, id, number]() -> Result<soap::RewireView> {
    auto* job = core_.jobs->find(id);
    if (job == nullptr) return Error(ErrorCode::kNotFound, "there is no job " + id);
    MVM_TRY(allowed(caller, job->record.user, job->record.lab));
    const auto* entry = core_.rewirings->find_entry(*job, number);
    if (entry == nullptr)
      return Error(ErrorCode::kNotFound,
                   "job " + id + " has no rewiring " + std::to_string(number) + ", or it was long ago");
    return view_of(core_, *job, entry);
  };
  const auto settled = [this, id, answer]() -> std::optional<Result<soap::RewireView>> {
    auto view = answer();
    auto* job = core_.jobs->find(id);
    // "switched" is told once every domain has it.
    const bool under_way =
        view && job != nullptr && job->record.core.state == JobState::kRunning &&
        (view->state == "preparing" || core_.rewirings->state(*job) == RewireState::kSwitching ||
         core_.rewirings->state(*job) == RewireState::kUndoing);
    if (under_way) return std::nullopt;
    return view;
  };
  return core_.ask_until(wait, settled, answer);
}

}  // namespace mvm::broker
