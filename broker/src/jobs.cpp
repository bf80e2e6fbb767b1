#include "jobs.h"

#include <algorithm>

#include "labs.h"
#include "logs.h"
#include "mvm/base/assert.h"
#include "mvm/base/log.h"
#include "mvm/base/number.h"
#include "mvm/topologies/limits.h"
#include "mvm/topologies/reader.h"
#include "mvm/topologies/rewiring.h"
#include "rewirings.h"
#include "scheduler.h"

namespace mvm::broker {
namespace {

std::string end_prefix(const Job& job) {
  return "ends/" + job.record.id + "/" + padded(job.record.core.attempt) + "/";
}

/// The rest of the key says which process: its tag, or, where an earlier release wrote it, its number.
std::string tag_of_key(const std::string& rest, const topologies::Graph& graph) {
  const auto number = whole_number<std::uint32_t>(rest);
  return number && *number < graph.process_count() ? graph.process_name(*number) : rest;
}

std::string transition_name(JobState from, JobState to) {
  return std::string(to_string(from)) + ">" + std::string(to_string(to));
}

}  // namespace

// ---- the table

Status Jobs::load() {
  std::string after;
  for (;;) {
    MVM_ASSIGN(const auto page, core_.store.list("jobs/", after, 500));
    if (page.empty()) break;
    for (const auto& entry : page) {
      MVM_ASSIGN(auto record, decode_job(entry.value));
      auto job = std::make_unique<Job>();
      job->record = std::move(record);
      if (!job->record.request.empty())
        requests_[job->record.user + "/" + job->record.request] = job->record.id;
      if (!is_terminal(job->record.core.state)) MVM_TRY(restore(*job));
      jobs_[job->record.number] = std::move(job);
    }
    after = page.back().key;
  }
  return ok();
}

/// What a job that is not ended needs in memory again.
Status Jobs::restore(Job& job) {
  auto* lab = core_.labs->find(job.record.lab);
  if (lab == nullptr) return Error(ErrorCode::kCorrupt, "job " + job.record.id + " is in no lab");
  lab->jobs.insert(job.record.id);
  if (!may_be_alive(job.record.core.state)) return ok();
  MVM_ASSIGN(const auto text, core_.journal.get_large("plans/job/" + job.record.id));
  MVM_ASSIGN(auto plan, decode_plan(text));
  if (lab->record.ephemeral) {
    lab->plan = plan;
    for (std::uint32_t i = 0; i < plan.nodes.size(); ++i) {
      lab->index[plan.nodes[i].node] = i;
      lab->status[plan.nodes[i].node] = {};
    }
  }
  job.plan = std::move(plan);
  return ok();
}

void Jobs::load_ends(Job& job, const topologies::Graph& graph) {
  const auto prefix = end_prefix(job);
  std::string after;
  for (;;) {
    const auto page = core_.journal.list(prefix, after, 1000);
    if (!page || page->empty()) return;
    for (const auto& entry : *page) {
      const auto tag = tag_of_key(entry.key.substr(prefix.size()), graph);
      const auto end = decode_end(entry.value);
      if (end && job.plan && find_tag(graph, *job.plan, tag)) job.ends[tag] = *end;
    }
    after = page->back().key;
  }
}

void Jobs::resume() {
  std::vector<Job*> open;
  for (auto& [number, job] : jobs_)
    if (!is_terminal(job->record.core.state)) open.push_back(job.get());
  for (auto* job : open) {
    if (auto read = profile(*job); !read) {
      fire(*job, JobEvent::kJobFault, "its profile cannot be read any more: " + read.error().describe());
      continue;
    }
    if (job->plan) load_ends(*job, job->profile->graph);
    if (job->record.cancel_asked && step(job->record.core, JobEvent::kCancel).changed) {
      fire(*job, JobEvent::kCancel, "cancelled");
      continue;
    }
    watch_wall_time(*job);
    core_.post([this, id = job->record.id, token = job->token] {
      if (auto* mine = find(id); mine != nullptr && mine->token == token) start_effects(*mine);
    });
  }
}

Job* Jobs::find(const std::string& id) {
  const auto number = whole_number<std::uint64_t>(id);
  if (!number) return nullptr;
  const auto found = jobs_.find(*number);
  return found == jobs_.end() ? nullptr : found->second.get();
}

std::string Jobs::user_of(const std::string& id) {
  const auto* job = find(id);
  return job == nullptr ? std::string() : job->record.user;
}

Result<std::shared_ptr<const topologies::Profile>> Jobs::profile(Job& job) {
  if (job.profile) return job.profile;
  MVM_ASSIGN(const auto xml, core_.blobs.read_whole(job.record.profile, topologies::kMaxFileBytes));
  topologies::ReadOptions options;
  options.set = job.record.settings;
  auto read = topologies::read_profile(xml, job.record.file, options);
  if (!read.profile) return topologies::to_error(read.diagnostics);
  if (job.record.rewired) {
    MVM_ASSIGN(auto graph, core_.rewirings->graph(job.record.id));
    MVM_ASSIGN(*read.profile, topologies::with_graph(*read.profile, std::move(graph)));
  }
  auto profile = std::make_shared<const topologies::Profile>(std::move(*read.profile));
  if (!is_terminal(job.record.core.state)) job.profile = profile;
  return profile;
}

const Plan* Jobs::plan_of(Job& job) {
  if (!job.plan) {
    const auto text = core_.journal.get_large("plans/job/" + job.record.id);
    if (!text) return nullptr;
    auto plan = decode_plan(*text);
    if (!plan) return nullptr;
    job.plan = std::move(*plan);
  }
  return &*job.plan;
}

Result<std::string> Jobs::submit(Submission s) {
  if (!s.request.empty())
    if (const auto known = requests_.find(s.user + "/" + s.request); known != requests_.end())
      return known->second;
  std::uint32_t open = 0;
  std::uint32_t of_user = 0;
  for (const auto& [number, job] : jobs_) {
    if (is_terminal(job->record.core.state)) continue;
    ++open;
    if (job->record.user == s.user) ++of_user;
  }
  if (open >= core_.config.limits.jobs_waiting || of_user >= core_.config.limits.jobs_of_user)
    return Error(ErrorCode::kExhausted, std::to_string(of_user) + " of your jobs, " + std::to_string(open) +
                                            " in all have not ended: no more are taken now");
  auto* lab = s.lab.empty() ? nullptr : core_.labs->find(s.lab);
  if (!s.lab.empty() && (lab == nullptr || lab->record.destroying || lab->record.ephemeral))
    return Error(ErrorCode::kNotFound, "there is no lab " + s.lab + " that takes jobs");
  auto job = std::make_unique<Job>();
  std::string id;
  core_.journal.group([&] {
    const auto number = core_.next_number("job");
    id = std::to_string(number);
    if (lab == nullptr) {
      lab = &core_.labs->add_for_job(id, number, s.user, s.name);
    }
    lab->jobs.insert(id);
    job->record = JobRecord{.number = number,
                            .id = id,
                            .lab = lab->record.id,
                            .name = s.name,
                            .user = s.user,
                            .file = s.file,
                            .own_lab = lab->record.ephemeral,
                            .profile = s.profile_digest,
                            .settings = std::move(s.settings),
                            .sources = std::move(s.sources),
                            .request = s.request};
    job->record.submitted_ms = core_.clock.wall_ms();
    job->record.core.retries_left = std::min(s.profile->limits.retries, core_.config.limits.retries);
    job->record.transitions.push_back(
        {.at_ms = job->record.submitted_ms, .from = {}, .to = "SUBMITTED", .reason = {}, .attempt = 1});
    save(*job);
    core_.journal.event({.event = "job.submitted",
                         .lab = lab->record.id,
                         .job = id,
                         .node = {},
                         .detail = s.name,
                         .user = s.user});
  });
  job->profile = std::move(s.profile);
  if (!s.request.empty()) requests_[s.user + "/" + s.request] = id;
  const auto number = job->record.number;
  jobs_[number] = std::move(job);
  core_.journal.after_commit([this, id] {
    if (auto* mine = find(id); mine != nullptr && mine->record.core.state == JobState::kSubmitted)
      start_effects(*mine);
  });
  return id;
}

void Jobs::cancel(const std::string& id, const std::string& why) {
  auto* job = find(id);
  if (job == nullptr || is_terminal(job->record.core.state)) return;
  core_.journal.group([&] {
    job->record.cancel_asked = true;
    save(*job);
    fire(*job, JobEvent::kCancel, why);
  });
}

Status Jobs::remove(const std::string& id) {
  auto* job = find(id);
  if (job == nullptr) return Error(ErrorCode::kNotFound, "there is no job " + id);
  if (!is_terminal(job->record.core.state))
    return Error(ErrorCode::kConflict,
                 "job " + id + " is " + std::string(to_string(job->record.core.state)) + "; cancel it first");
  // The record goes last: a crash on the way leaves a job that can be removed again.
  core_.logs->erase("job/" + id);
  core_.journal.erase_prefix("ends/" + id + "/");
  core_.journal.erase_large("plans/job/" + id);
  core_.journal.erase("results/" + id);
  core_.journal.erase("rests/" + id);
  core_.rewirings->forget(id);
  core_.journal.erase("jobs/" + id);
  if (!job->record.request.empty()) requests_.erase(job->record.user + "/" + job->record.request);
  jobs_.erase(job->record.number);
  return ok();
}

// ---- transitions

std::string Jobs::attempt(const Job& job) {
  return job.record.id + "." + std::to_string(job.record.core.attempt);
}

void Jobs::save(const Job& job) { core_.journal.put("jobs/" + job.record.id, encode(job.record)); }

void Jobs::fire(Job& job, JobEvent event, const std::string& reason) {
  const auto before = job.record.core;
  const auto answer = step(before, event);
  if (!answer.changed) return;
  const auto name = transition_name(before.state, answer.next.state);
  core_.crash.pass(name, "uncommitted");
  ++job.token;
  core_.loop.cancel(job.wall_timer);
  core_.journal.group([&] {
    auto& record = job.record;
    record.core = answer.next;
    if (!reason.empty()) record.reason = reason;
    entered(job);
    if (record.transitions.size() >= kKeptTransitions) record.transitions.erase(record.transitions.begin());
    record.transitions.push_back({.at_ms = core_.clock.wall_ms(),
                                  .from = std::string(to_string(before.state)),
                                  .to = std::string(to_string(answer.next.state)),
                                  .reason = reason,
                                  .attempt = before.attempt});
    save(job);
    core_.journal.event({.event = "job.state",
                         .lab = record.lab,
                         .job = record.id,
                         .node = {},
                         .detail = std::string(to_string(before.state)) + " -> " +
                                   std::string(to_string(answer.next.state)) +
                                   (reason.empty() ? "" : ": " + reason),
                         .user = record.user});
    if (is_terminal(record.core.state)) ended(job);
  });
  log::info("job.state", {{"job", job.record.id},
                          {"from", to_string(before.state)},
                          {"to", to_string(answer.next.state)},
                          {"attempt", before.attempt},
                          {"reason", reason}});
  core_.journal.after_commit([this, id = job.record.id, token = job.token, name] {
    core_.crash.pass(name, "committed");
    auto* mine = find(id);
    if (mine != nullptr && mine->token == token) start_effects(*mine);
  });
  // Another job may compile now what this one was compiling.
  if (before.state == JobState::kBuilding) core_.builds->release(job.record.id);
}

/// What entering a state writes down with it.
void Jobs::entered(Job& job) {
  auto& record = job.record;
  job.progress.clear();
  if (record.core.state != JobState::kRunning) core_.rewirings->left(job);
  switch (record.core.state) {
    case JobState::kPlanned:
      core_.rewirings->renewed(record.id);
      record.collected = false;
      record.running_ms = 0;
      job.ends.clear();
      job.started = false;
      job.why.clear();
      break;
    case JobState::kRunning:
      record.running_ms = core_.clock.wall_ms();
      if (record.started_ms == 0) record.started_ms = record.running_ms;
      watch_wall_time(job);
      break;
    case JobState::kSubmitted:
      // The old attempt is dead: its nodes and subnets are free. The next one gets a lab of another name, so
      // that nothing that is still told of the old one's nodes can be taken for news of the new one's.
      if (record.own_lab) {
        core_.labs->remove(record.lab);
        record.lab = core_.labs->add_for_job(record.id, record.number, record.user, record.name).record.id;
      }
      job.plan.reset();
      job.layout.reset();
      job.lab_infos.clear();
      job.needs.clear();
      job.needs_known = false;
      job.results.clear();
      break;
    default:
      break;
  }
}

void Jobs::ended(Job& job) {
  auto& record = job.record;
  record.ended_ms = core_.clock.wall_ms();
  save(job);
  auto* lab = core_.labs->find(record.lab);
  if (lab != nullptr && lab->record.ephemeral)
    core_.labs->remove(record.lab);
  else if (lab != nullptr)
    core_.labs->job_ended(record.lab, record.id);
  core_.logs->close("job/" + record.id);
  job.profile.reset();
  job.layout.reset();
  job.lab_infos.clear();
  job.needs.clear();
  job.why.clear();
  job.ends.clear();
  job.plan.reset();
  core_.scheduler->wake();
}

void Jobs::watch_wall_time(Job& job) {
  if (job.record.core.state != JobState::kRunning || !job.profile || job.profile->limits.walltime_ms <= 0)
    return;
  const auto passed = std::max<std::int64_t>(0, core_.clock.wall_ms() - job.record.running_ms);
  const auto left = std::max<std::int64_t>(0, job.profile->limits.walltime_ms - passed);
  job.wall_timer = core_.after(std::chrono::milliseconds(left), [this, id = job.record.id,
                                                                 token = job.token] {
    auto* mine = find(id);
    if (mine == nullptr || mine->token != token) return;
    fire(*mine, JobEvent::kWallTime,
         "its wall-time limit of " + std::to_string(mine->profile->limits.walltime_ms / 1000) + " s is over");
  });
}

void Jobs::keep_end(const Job& job, const std::string& tag, const EndRecord& end) {
  core_.journal.put(end_prefix(job) + tag, encode(end));
}

void Jobs::check_ended(Job& job) {
  if (job.record.core.state != JobState::kRunning || !job.profile) return;
  const auto& graph = job.profile->graph;
  const auto leavers = core_.rewirings->leavers(job);
  const auto leaving =
      std::count_if(leavers.begin(), leavers.end(), [](const auto& one) { return !one.end; });
  job.progress =
      std::to_string(job.ends.size()) + " of " + std::to_string(graph.process_count()) + " processes ended";
  if (leaving > 0) job.progress += ", " + std::to_string(leaving) + " leave";
  if (!job.started || job.ends.size() < graph.process_count() || leaving > 0) return;
  int worst = 0;
  std::string reason;
  const auto judge = [&](const std::string& tag, const EndRecord& end) {
    if (exit_code(end) <= worst) return;
    worst = exit_code(end);
    reason = name_of_tag(tag) + " " + how_ended(end);
  };
  for (const auto& [tag, end] : job.ends) judge(tag, end);
  for (const auto& one : leavers) judge(one.process, *one.end);
  job.record.exit_code = worst;
  fire(job, worst == 0 ? JobEvent::kEndedWell : JobEvent::kEndedBadly, reason);
}

// ---- the scheduler's word

Status Jobs::planned(Job& job, Plan plan) {
  auto* lab = core_.labs->find(job.record.lab);
  MVM_ASSERT(lab != nullptr && job.record.core.state == JobState::kSubmitted);
  if (lab->record.ephemeral) MVM_TRY(core_.labs->assign(*lab, plan));
  auto layout = lay_out(job.profile->graph, plan);
  if (!layout && layout.error().code() == ErrorCode::kNoPlacement) return layout.error();
  if (!layout) {
    fire(job, JobEvent::kJobFault, layout.error().message());
    return ok();
  }
  std::set<std::string> hosts;
  for (const auto& node : plan.nodes) hosts.insert(node.host);
  core_.journal.group([&] {
    core_.labs->will_carry(*lab, *layout);
    core_.journal.put_large("plans/job/" + job.record.id, encode(plan));
    job.record.where.assign(hosts.begin(), hosts.end());
    job.record.node_count = static_cast<std::uint32_t>(plan.nodes.size());
    job.layout = std::move(*layout);
    job.plan = std::move(plan);
    fire(job, JobEvent::kPlanned);
  });
  return ok();
}

void Jobs::cannot_place(Job& job, std::vector<std::string> reasons) {
  if (job.record.core.state != JobState::kSubmitted || job.why == reasons) return;
  job.why = std::move(reasons);
  core_.look();
}

// ---- the builds' word

bool Jobs::is_building(const std::string& id) {
  const auto* job = find(id);
  return job != nullptr && job->record.core.state == JobState::kBuilding;
}

bool Jobs::uses_build(const std::string& key) const {
  for (const auto& [number, job] : jobs_)
    for (const auto& need : job->needs)
      if (need.key == key) return true;
  return false;
}

void Jobs::build_changed(const std::string& id) {
  core_.post([this, id] {
    auto* job = find(id);
    if (job == nullptr || job->record.core.state != JobState::kBuilding) return;
    if (job->effects.empty() || job->effects.front() != Effect::kBuild) return;
    check_built(*job);
  });
}

void Jobs::build_failed(const std::string& id, const std::string& reason) {
  if (auto* job = find(id); job != nullptr && job->record.core.state == JobState::kBuilding)
    fire(*job, JobEvent::kJobFault, reason);
}

void Jobs::build_lost(const std::string& id, const std::string& reason) {
  if (auto* job = find(id); job != nullptr && job->record.core.state == JobState::kBuilding)
    fire(*job, JobEvent::kFault, reason);
}

// ---- the hosts' word

void Jobs::node_lost(const std::string& lab, const std::string& node, const std::string& reason) {
  for (auto& [number, job] : jobs_) {
    if (job->record.lab != lab || !job->plan || !may_be_alive(job->record.core.state)) continue;
    if (job->record.core.state == JobState::kCollecting && job->record.collected) continue;
    const bool uses = std::any_of(job->plan->nodes.begin(), job->plan->nodes.end(),
                                  [&](const auto& mine) { return mine.node == node; });
    if (uses) fire(*job, JobEvent::kFault, "node " + node + " was lost: " + reason);
  }
}

void Jobs::node_missing(const std::string& lab, const std::string& node, const std::string& reason) {
  for (auto& [number, job] : jobs_) {
    if (job->record.lab != lab || !job->plan || !may_be_alive(job->record.core.state)) continue;
    if (job->record.core.state < JobState::kWiring) continue;
    if (job->record.core.state == JobState::kCollecting && job->record.collected) continue;
    const bool uses = std::any_of(job->plan->nodes.begin(), job->plan->nodes.end(),
                                  [&](const auto& mine) { return mine.node == node; });
    if (uses) fire(*job, JobEvent::kFault, "node " + node + " was lost: " + reason);
  }
}

void Jobs::proxy_lost(const std::string& lab, const std::string& host, std::uint16_t port,
                      const std::string& reason) {
  for (auto& [number, job] : jobs_) {
    const auto state = job->record.core.state;
    if (job->record.lab != lab || !job->plan || !job->profile || state < JobState::kPlanned ||
        state > JobState::kRunning)
      continue;
    // Its links know the proxy by the port that the job was told. After a crash of the broker that is asked
    // for again before the links are made.
    const auto told = job->lab_infos.find(host);
    const bool concerned = told == job->lab_infos.end() ? state >= JobState::kWiring
                                                        : port == 0 || told->second.bridge_port == port;
    if (concerned && know_layout(*job) && hosts_with_proxy(*job->layout).contains(host))
      fire(*job, JobEvent::kFault, "proxy on host " + host + " was lost: " + reason);
  }
}

Status Jobs::know_layout(Job& job) {
  if (job.layout) return ok();
  MVM_ASSIGN(job.layout, core_.rewirings->layout(job));
  if (!job.layout) {
    MVM_ASSIGN(job.layout, lay_out(job.profile->graph, *job.plan));
  }
  return ok();
}

/// "12.1/cell[3]" → job 12 in its first attempt; null where that attempt counts no more.
Job* Jobs::of_attempt(const std::string& proc, std::string& process) {
  const auto slash = proc.find('/');
  const auto dot = proc.find('.');
  if (slash == std::string::npos || dot == std::string::npos || dot > slash) return nullptr;
  auto* job = find(proc.substr(0, dot));
  if (job == nullptr || proc.substr(0, slash) != attempt(*job)) return nullptr;
  process = proc.substr(slash + 1);
  return job;
}

void Jobs::process_ended(const std::string& proc, const EndRecord& end) {
  std::string name;
  auto* job = of_attempt(proc, name);
  if (job == nullptr || job->record.core.state != JobState::kRunning || !job->profile) return;
  const auto process = find_tag(job->profile->graph, *job->plan, name);
  if (process && job->ends.contains(name)) return;
  const auto node = process ? job->plan->node_of[*process] : core_.rewirings->moving_node(*job, name);
  if (node >= job->plan->nodes.size()) return;  // of a rewiring that was undone, or told before
  core_.journal.event(
      {.event = "process.exit",
       .lab = job->record.lab,
       .job = job->record.id,
       .node = job->plan->nodes[node].node,
       .detail = name_of_tag(name) + (end.signal != 0 ? " signal " + std::to_string(end.signal)
                                                      : " code " + std::to_string(end.code)),
       .user = job->record.user});
  if (process) {
    job->ends[name] = end;
    keep_end(*job, name, end);
  } else {
    core_.rewirings->moving_ended(*job, name, end);
  }
  check_ended(*job);
}

void Jobs::link_failed(const std::string& attempt_id, std::uint64_t number, const std::string& why) {
  std::string unused;
  auto* job = of_attempt(attempt_id + "/", unused);
  if (job == nullptr || !job->profile || !job->plan || !know_layout(*job)) return;
  const auto& carries = job->layout->carries;
  const auto carry = std::find_if(carries.begin(), carries.end(),
                                  [&](const auto& one) { return link_base(job->record) + one.id == number; });
  if (carry == carries.end()) return;
  const auto& queue = job->layout->queues[carry->from_queue];
  const auto link = queue.link == topologies::kNoLink ? leaving_name(*job->layout, queue.tree)
                                                      : job->profile->graph.link_name(queue.link);
  core_.journal.event({.event = "link.failed",
                       .lab = job->record.lab,
                       .job = job->record.id,
                       .node = {},
                       .detail = link + ": " + why,
                       .user = job->record.user});
}

void Jobs::process_output(const std::string& proc, const std::string& node, const std::string& stream,
                          std::uint64_t offset, const std::string& text) {
  std::string name;
  auto* job = of_attempt(proc, name);
  if (job == nullptr || is_terminal(job->record.core.state)) return;
  // Each attempt speaks anew: its offsets count from its own beginning.
  const auto process =
      job->record.core.attempt == 1 ? name : name + "#" + std::to_string(job->record.core.attempt);
  core_.logs->append(
      "job/" + job->record.id,
      {.process = process, .node = node, .stream = stream, .offset = offset, .at_ms = 0, .text = text});
}

}  // namespace mvm::broker
