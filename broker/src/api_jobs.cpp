#include <algorithm>

#include "api.h"
#include "builds.h"
#include "hosts.h"
#include "jobs.h"
#include "labs.h"
#include "logs.h"
#include "mvm/topologies/codecs.h"
#include "rewirings.h"
#include "scheduler.h"
#include "sources.h"
#include "submission.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kMaxRequestId = 128;
constexpr std::size_t kMaxPlannedLinks = 10'000;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

soap::JobView view(const Job& job) {
  const auto& r = job.record;
  soap::JobView v{.id = r.id,
                  .lab = r.lab,
                  .name = r.name,
                  .user = r.user,
                  .state = std::string(to_string(r.core.state)),
                  .reason = {},
                  .submitted_ms = r.submitted_ms,
                  .started_ms = r.started_ms,
                  .ended_ms = r.ended_ms,
                  .nodes = r.node_count,
                  .where = r.where,
                  .attempt = r.core.attempt,
                  .exit_code = r.exit_code,
                  .cancel_asked = r.cancel_asked,
                  .progress = job.progress};
  const bool ending = r.core.state == JobState::kCollecting || is_terminal(r.core.state);
  if (!job.why.empty())
    v.reason = first_line(job.why.front());
  else if (ending)
    v.reason = first_line(r.reason);
  return v;
}

void split_into(std::vector<std::string>& lines, const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    if (end > at) lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
}

std::vector<std::string> why(const Job& job) {
  auto lines = job.why;
  if (job.record.core.state != JobState::kSubmitted) split_into(lines, job.record.reason);
  if (job.record.core.state == JobState::kSubmitted && job.record.core.attempt > 1)
    split_into(lines,
               "attempt " + std::to_string(job.record.core.attempt - 1) + " ended: " + job.record.reason);
  if (!job.progress.empty() && !is_terminal(job.record.core.state)) lines.push_back(job.progress);
  return lines;
}

void tell_end(soap::ProcessView& view, const EndRecord& end) {
  view.code = end.code;
  view.signal = end.signal;
  view.user_ms = end.user_ms;
  view.system_ms = end.system_ms;
  view.max_rss = end.max_rss;
}

std::vector<soap::ProcessView> processes(Core& core, Job& job) {
  std::vector<soap::ProcessView> views;
  auto profile = core.jobs->profile(job);
  const auto* plan = job.record.core.state == JobState::kSubmitted ? nullptr : core.jobs->plan_of(job);
  if (!profile || plan == nullptr) return views;
  const auto& graph = (*profile)->graph;
  if (is_terminal(job.record.core.state) && job.ends.empty()) core.jobs->load_ends(job, graph);
  for (topologies::ProcessId p = 0; p < graph.process_count() && p < plan->node_of.size(); ++p) {
    soap::ProcessView v{.process = graph.process_name(p),
                        .node = plan->nodes[plan->node_of[p]].node,
                        .state = job.record.core.state == JobState::kRunning ? "running" : "waiting"};
    if (const auto end = job.ends.find(process_tag(graph, *plan, p)); end != job.ends.end()) {
      v.state = end->second.signal != 0 ? "killed" : "exited";
      tell_end(v, end->second);
    } else if (job.record.core.state >= JobState::kCollecting && job.record.running_ms > 0) {
      v.state = "killed";  // with its attempt
    }
    views.push_back(std::move(v));
  }
  for (const auto& one : core.rewirings->leavers(job)) {
    soap::ProcessView v{.process = name_of_tag(one.process),
                        .node = one.node < plan->nodes.size() ? plan->nodes[one.node].node : std::string(),
                        .state = one.end ? "left" : "leaving"};
    if (one.end)
      tell_end(v, *one.end);
    else if (job.record.core.state >= JobState::kCollecting)
      v.state = "killed";  // with its attempt
    views.push_back(std::move(v));
  }
  return views;
}

soap::JobDetail detail(Core& core, Job& job) {
  return {.job = view(job),
          .processes = processes(core, job),
          .transitions = job.record.transitions,
          .why = why(job)};
}

Result<Job*> find_allowed(Core& core, const soap::Caller& caller, const std::string& id) {
  auto* job = core.jobs->find(id);
  if (job == nullptr) return Error(ErrorCode::kNotFound, "there is no job " + id);
  MVM_TRY(allowed(caller, job->record.user, job->record.lab));
  return job;
}

/// The plan as people see it.
void show_links(soap::PlanView& view, const topologies::Profile& profile, const Plan& plan) {
  const auto& graph = profile.graph;
  const auto layout = lay_out(graph, plan);
  if (!layout) {
    view.reasons.push_back(layout.error().message());
    return;
  }
  const auto how = transports(graph, *layout);
  const auto names = [&](std::span<const topologies::End> ends) {
    std::string text;
    for (std::size_t i = 0; i < ends.size() && i < 4; ++i)
      text += (i == 0 ? "" : " ") + graph.end_name(ends[i]);
    if (ends.size() > 4) text += " and " + std::to_string(ends.size() - 4) + " more";
    return text;
  };
  for (topologies::LinkId id = 0; id < graph.link_count() && id < kMaxPlannedLinks; ++id) {
    const auto link = graph.link(id);
    std::string where;
    if (!link.consumers.empty()) where = plan.nodes[plan.node_of[link.consumers.front().process]].host;
    view.links.push_back({.link = graph.link_name(id),
                          .from = names(link.producers),
                          .to = names(link.consumers),
                          .transport = how[id],
                          .where = where,
                          .codec = topologies::codecs_text(codecs_of(graph, plan, id)),
                          .forced = link.spec->transport});
  }
}

void show_builds(Core& core, soap::PlanView& view, const topologies::Profile& profile, const Plan& plan,
                 const std::vector<std::string>& sources) {
  const auto needs = build_needs(profile, plan, sources, "plan", core.config.version);
  if (!needs) {
    view.reasons.push_back(needs.error().message());
    return;
  }
  for (const auto& need : *needs) {
    const auto& node = plan.nodes[need.builder];
    view.builds.push_back(
        "role " + profile.programs[need.program].role + " for " + node.architecture + ": " +
        (core.builds->find(need.key) != nullptr ? "cached" : "compiled in node " + node.node));
  }
}

soap::PlanView show(Core& core, const topologies::Profile& profile, const PlanOutcome& outcome, bool in_lab,
                    const std::vector<std::string>& sources) {
  soap::PlanView view{.name = profile.name,
                      .nodes = {},
                      .links = {},
                      .process_count = profile.graph.process_count(),
                      .link_count = profile.graph.link_count(),
                      .builds = {},
                      .reasons = outcome.reasons};
  if (!outcome.plan) return view;
  const auto& plan = *outcome.plan;
  for (const auto& node : plan.nodes)
    view.nodes.push_back({.node = node.node,
                          .host = node.host,
                          .driver = node.driver,
                          .image = node.image,
                          .architecture = node.architecture,
                          .vcpus = node.vcpus,
                          .memory = node.memory,
                          .processes = {},
                          .state = in_lab ? "kept" : "new"});
  for (topologies::ProcessId p = 0; p < plan.node_of.size(); ++p)
    view.nodes[plan.node_of[p]].processes.push_back(profile.graph.process_name(p));
  if (!profile.has_job) return view;
  show_links(view, profile, plan);
  show_builds(core, view, profile, plan, sources);
  return view;
}

Result<std::vector<std::string>> trees(const BlobStore& blobs, const topologies::Profile& profile) {
  std::vector<std::string> sources;
  for (const auto& program : profile.programs) {
    MVM_ASSIGN(auto tree, source_tree(blobs, program));
    sources.push_back(std::move(tree));
  }
  return sources;
}

}  // namespace

Status allowed(const soap::Caller& caller, const std::string& user, const std::string& lab) {
  if (!caller.lab.empty() && caller.lab != lab)
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  if (caller.role == "admin" || caller.user == user) return ok();
  if (caller.role == "lab" && !caller.lab.empty()) return ok();
  return Error(ErrorCode::kRefused, "this belongs to another user");
}

Result<std::vector<soap::Diagnostic>> JobService::validate(const soap::Caller&,
                                                           const soap::SubmitRequest& request) {
  return to_soap(read_submission(request).diagnostics);
}

Result<soap::PlanView> JobService::plan(const soap::Caller& caller, const soap::SubmitRequest& request) {
  const auto read = read_submission(request);
  if (!read.profile) return topologies::to_error(read.diagnostics);
  std::vector<std::string> sources(read.profile->programs.size());
  if (read.profile->has_job) {
    // A plan may be asked for before anything is uploaded: then nothing can be cached.
    if (auto found = trees(core_.blobs, *read.profile)) sources = std::move(*found);
  }
  return core_.ask([&]() -> Result<soap::PlanView> {
    if (!request.lab.empty()) {
      const auto* lab = core_.labs->find(request.lab);
      if (lab == nullptr) return Error(ErrorCode::kNotFound, "there is no lab " + request.lab);
      MVM_TRY(allowed(caller, lab->record.user, request.lab));
    } else {
      MVM_TRY(allowed(caller, caller.user, caller.lab));
    }
    const auto snapshot = core_.scheduler->snapshot(request.lab);
    return show(core_, *read.profile, broker::plan(snapshot, *read.profile), snapshot.in_lab, sources);
  });
}

Result<std::string> JobService::submit(const soap::Caller& caller, const soap::SubmitRequest& request) {
  if (request.request.size() > kMaxRequestId)
    return Error(ErrorCode::kInvalid, "the request's id is longer than 128 bytes");
  const auto read = read_submission(request);
  if (!read.profile) return topologies::to_error(read.diagnostics);
  const auto& profile = *read.profile;
  std::string lab = request.lab;
  if (lab.empty() && !caller.lab.empty()) lab = caller.lab;  // a lab's token works in its lab
  MVM_TRY(check_job(profile, core_.config.limits, core_.blobs, !lab.empty()));
  MVM_ASSIGN(auto sources, trees(core_.blobs, profile));
  MVM_ASSIGN(auto digest, core_.blobs.put(request.profile));
  return core_.ask([&]() -> Result<std::string> {
    std::string user = caller.user;
    if (!lab.empty()) {
      const auto* found = core_.labs->find(lab);
      if (found == nullptr) return Error(ErrorCode::kNotFound, "there is no lab " + lab);
      MVM_TRY(allowed(caller, found->record.user, lab));
    }
    return core_.jobs->submit({.user = user,
                               .name = profile.job_name.empty() ? profile.name : profile.job_name,
                               .file = request.file,
                               .lab = lab,
                               .request = request.request,
                               .profile_digest = digest,
                               .settings = request.settings,
                               .profile = read.profile,
                               .sources = std::move(sources)});
  });
}

Result<std::vector<soap::JobView>> JobService::jobs(const soap::Caller& caller, bool ended_too) {
  return core_.ask([&]() -> Result<std::vector<soap::JobView>> {
    std::vector<soap::JobView> views;
    for (const auto& [number, job] : core_.jobs->all())
      if ((ended_too || !is_terminal(job->record.core.state)) &&
          allowed(caller, job->record.user, job->record.lab))
        views.push_back(view(*job));
    return views;
  });
}

Result<soap::JobDetail> JobService::job(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Result<soap::JobDetail> {
    MVM_ASSIGN(auto* const found, find_allowed(core_, caller, id));
    return detail(core_, *found);
  });
}

Result<soap::JobDetail> JobService::wait_job(const soap::Caller& caller, const std::string& id,
                                             const std::string& state, std::chrono::milliseconds wait) {
  const auto answer = [this, caller, id]() -> Result<soap::JobDetail> {
    MVM_ASSIGN(auto* const found, find_allowed(core_, caller, id));
    return detail(core_, *found);
  };
  return core_.ask_until(
      wait,
      [this, caller, id, state, answer]() -> std::optional<Result<soap::JobDetail>> {
        const auto* found = core_.jobs->find(id);
        if (found != nullptr && to_string(found->record.core.state) == state &&
            allowed(caller, found->record.user, found->record.lab))
          return std::nullopt;
        return answer();
      },
      answer);
}

Status JobService::cancel(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Status {
    MVM_ASSIGN(auto* const found, find_allowed(core_, caller, id));
    const auto state = found->record.core.state;
    if (is_terminal(state) && state != JobState::kCancelled)
      return Error(ErrorCode::kConflict,
                   "job " + id + " ended already: found " + std::string(to_string(state)));
    core_.jobs->cancel(found->record.id, "cancelled by " + caller.user);
    return ok();
  });
}

Result<soap::LogPage> JobService::logs(const soap::Caller& caller, const soap::LogQuery& query) {
  const auto owner = "job/" + query.job;
  const auto answer = [this, caller, query, owner]() -> Result<soap::LogPage> {
    MVM_ASSIGN(auto* const found, find_allowed(core_, caller, query.job));
    MVM_ASSIGN(auto page, core_.logs->read(owner, query.process, query.cursor));
    return soap::LogPage{.pieces = std::move(page.pieces),
                         .cursor = page.cursor,
                         .ended = !page.more && is_terminal(found->record.core.state)};
  };
  return core_.ask_until(
      query.wait,
      [this, query, owner, answer]() -> std::optional<Result<soap::LogPage>> {
        const auto* found = core_.jobs->find(query.job);
        const bool over = found == nullptr || is_terminal(found->record.core.state);
        if (!over && core_.logs->last(owner) <= query.cursor) return std::nullopt;
        auto page = answer();
        if (page && page->pieces.empty() && !page->ended) return std::nullopt;
        return page;
      },
      answer);
}

Result<std::vector<soap::ResultFile>> JobService::results(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Result<std::vector<soap::ResultFile>> {
    MVM_ASSIGN([[maybe_unused]] const auto* found, find_allowed(core_, caller, id));
    auto text = core_.journal.get("results/" + id);
    if (!text) return std::vector<soap::ResultFile>();
    return decode_results(*text);
  });
}

Status JobService::remove(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Status {
    MVM_ASSIGN([[maybe_unused]] const auto* found, find_allowed(core_, caller, id));
    return core_.jobs->remove(id);
  });
}

}  // namespace mvm::broker
