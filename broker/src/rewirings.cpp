#include "rewirings.h"

#include <algorithm>

#include "hosts.h"
#include "labs.h"
#include "mvm/base/assert.h"
#include "mvm/base/log.h"

namespace mvm::broker {
namespace {

using host::HostAgent;
using nlohmann::json;

std::string transition_name(RewireState from, RewireState to) {
  return std::string(to_string(from)) + ">" + std::string(to_string(to));
}

std::string summary(const RewireEntry& entry) {
  return std::to_string(entry.number) + ": " + std::to_string(entry.added) + " links added, " +
         std::to_string(entry.removed) + " removed, " + std::to_string(entry.redirected) + " redirected, " +
         std::to_string(entry.changed) + " changed, " + std::to_string(entry.unchanged) + " unchanged" +
         (entry.started > 0 ? "; processes started: " + std::to_string(entry.started) : "") +
         (entry.left > 0 ? "; processes that leave: " + std::to_string(entry.left) : "");
}

std::set<std::uint32_t> open_queues(const WiringLayout& layout) {
  std::set<std::uint32_t> ids;
  for (const auto& end : layout.outside) ids.insert(layout.queues[end.queue].id);
  return ids;
}

/// Steps without what differs each time, a guest's certificate too, and whom else they are told.
json plain(json steps) {
  steps.erase("nodes");
  steps.erase("generation");
  steps.erase("identity");
  return steps;
}

/// What a job that runs keeps whatever its topology says.
Status check_roles(const topologies::Graph& before, const topologies::Graph& after) {
  for (std::size_t r = 0; r < std::min(before.roles().size(), after.roles().size()); ++r)
    if (before.roles()[r].name != after.roles()[r].name)
      return Error(ErrorCode::kUnsupported, "the topology has the role " + after.roles()[r].name +
                                                " where the job has the role " + before.roles()[r].name +
                                                ": the order of a running job's roles stays");
  return ok();
}

Status check_size(const topologies::Graph& graph, const BrokerLimits& limits) {
  if (graph.process_count() > limits.processes_of_job)
    return Error(ErrorCode::kExhausted, "processes: found " + std::to_string(graph.process_count()) +
                                            ", at most " + std::to_string(limits.processes_of_job) +
                                            " are taken");
  if (graph.link_count() > limits.links_of_job)
    return Error(ErrorCode::kExhausted, "links: found " + std::to_string(graph.link_count()) + ", at most " +
                                            std::to_string(limits.links_of_job) + " are taken");
  return ok();
}

}  // namespace

RewireEntry entry_of(std::uint64_t number, const topologies::Difference& difference) {
  RewireEntry entry{.number = number, .outcome = {}, .reason = {}, .unchanged = difference.unchanged};
  for (const auto& link : difference.links) switch (link.change) {
      case topologies::LinkChange::kAdded:
        ++entry.added;
        break;
      case topologies::LinkChange::kRemoved:
        ++entry.removed;
        break;
      case topologies::LinkChange::kRedirected:
        ++entry.redirected;
        break;
      case topologies::LinkChange::kChanged:
        ++entry.changed;
        break;
    }
  for (const auto& role : difference.roles)
    (role.after > role.before ? entry.started : entry.left) +=
        role.after > role.before ? role.after - role.before : role.before - role.after;
  return entry;
}

// ---- what is known

Status Rewirings::load() {
  std::string after;
  for (;;) {
    MVM_ASSIGN(const auto page, core_.store.list("rewires/", after, 500));
    if (page.empty()) return ok();
    for (const auto& entry : page) {
      MVM_ASSIGN(rewirings_[entry.key.substr(8)].record, decode_rewire(entry.value));
    }
    after = page.back().key;
  }
}

void Rewirings::resume() {
  for (auto& [id, mine] : rewirings_) {
    auto* job = core_.jobs->find(id);
    if (job == nullptr || job->record.core.state != JobState::kRunning || !job->profile) continue;
    watch_deadline(*job, mine);
    watch_leavers(*job, mine);
    start_effect(*job);
  }
}

Rewirings::Rewiring& Rewirings::of(Job& job) {
  auto& mine = rewirings_[job.record.id];
  if (mine.record.attempt != job.record.core.attempt) {
    mine.record.attempt = job.record.core.attempt;
    mine.record.state = RewireState::kSteady;
    mine.record.generation = 1;
    mine.record.newcomers.clear();
    mine.record.leavers.clear();
  }
  return mine;
}

/// Null where the job's present attempt was never rewired.
const Rewirings::Rewiring* Rewirings::present(const Job& job) const {
  const auto found = rewirings_.find(job.record.id);
  return found != rewirings_.end() && found->second.record.attempt == job.record.core.attempt ? &found->second
                                                                                              : nullptr;
}

std::uint64_t Rewirings::next_number(const Job& job) const {
  const auto found = rewirings_.find(job.record.id);
  return found == rewirings_.end() || found->second.record.entries.empty()
             ? 1
             : found->second.record.entries.back().number + 1;
}

void Rewirings::save(const Job& job, const Rewiring& mine) {
  core_.journal.put("rewires/" + job.record.id, encode(mine.record));
}

RewireState Rewirings::state(const Job& job) const {
  const auto found = rewirings_.find(job.record.id);
  return found == rewirings_.end() ? RewireState::kSteady : found->second.record.state;
}

bool Rewirings::busy(const Job& job) const {
  const auto found = rewirings_.find(job.record.id);
  return found != rewirings_.end() && found->second.record.state != RewireState::kSteady;
}

const RewireEntry* Rewirings::find_entry(const Job& job, std::uint64_t number) const {
  const auto found = rewirings_.find(job.record.id);
  if (found == rewirings_.end()) return nullptr;
  for (const auto& entry : found->second.record.entries)
    if (entry.number == number) return &entry;
  return nullptr;
}

Result<std::optional<WiringLayout>> Rewirings::layout(const Job& job) {
  const auto found = rewirings_.find(job.record.id);
  if (found == rewirings_.end() || found->second.record.attempt != job.record.core.attempt)
    return std::optional<WiringLayout>();
  const auto text = core_.journal.get_large("wirings/" + job.record.id);
  if (!text && text.error().code() == ErrorCode::kNotFound) return std::optional<WiringLayout>();
  if (!text) return text.error();
  MVM_ASSIGN(auto layout, decode_layout(*text, job.profile->graph, *job.plan));
  return std::optional<WiringLayout>(std::move(layout));
}

Result<topologies::Graph> Rewirings::graph(const std::string& job) {
  MVM_ASSIGN(const auto text, core_.journal.get_large("graphs/" + job));
  return decode_graph(text);
}

// ---- asking

Result<RewirePlan> Rewirings::plan(Job& job, topologies::Graph graph) {
  if (job.record.core.state != JobState::kRunning || !job.started)
    return Error(ErrorCode::kConflict, "job " + job.record.id + " is " +
                                           std::string(to_string(job.record.core.state)) +
                                           "; it can be rewired while it runs");
  if (busy(job)) return Error(ErrorCode::kConflict, "job " + job.record.id + " is being rewired already");
  MVM_TRY(core_.jobs->know_layout(job));
  const auto& before = job.profile->graph;
  auto difference = topologies::difference(before, graph);
  MVM_TRY(check_size(graph, core_.config.limits));
  MVM_ASSIGN(auto changed, topologies::with_graph(*job.profile, std::move(graph)));
  const auto profile = std::make_shared<const topologies::Profile>(std::move(changed));
  MVM_TRY(check_roles(before, profile->graph));
  const auto number = next_number(job);
  MVM_ASSIGN(auto next, follow_graph(*job.plan, before, *profile, number));
  MVM_TRY(check_moving(job, difference));
  MVM_TRY(check_newcomers(job, *profile, next, number));
  const Wired wired{before, *job.plan, *job.layout};
  auto laid = lay_out_again(profile->graph, next, wired);
  if (!laid && laid.error().code() == ErrorCode::kNoPlacement && difference.roles.empty())
    return Error(ErrorCode::kUnsupported,
                 laid.error().message() + "\nthe processes of a running job stay where they are");
  MVM_ASSIGN(auto layout, std::move(laid));
  MVM_TRY(check_policies(job, layout));
  // What clients outside have in hand stands in the kernel that holds the end.
  if (open_queues(layout) != open_queues(*job.layout))
    return Error(ErrorCode::kUnsupported, "the open ports of a running job stay as they are");
  auto steps = describe_steps(wired, {profile->graph, next, layout});
  return RewirePlan{.difference = std::move(difference),
                    .steps = std::move(steps),
                    .profile = profile,
                    .plan = std::move(next),
                    .layout = std::move(layout)};
}

/// Who is on the way, in or out, has to fit into one record.
Status Rewirings::check_moving(const Job& job, const topologies::Difference& difference) const {
  const auto entry = entry_of(0, difference);
  std::uint64_t moving = std::uint64_t{entry.started} + entry.left;
  for (const auto& one : leavers(job)) moving += one.end ? 0U : 1U;
  if (moving > kMostMoving)
    return Error(ErrorCode::kExhausted, "processes that start or leave: found " + std::to_string(moving) +
                                            ", at most " + std::to_string(kMostMoving) + " may at once");
  return ok();
}

/// Policies about links that leave a memory domain are asked when a job is planned. What they have not seen
/// is not made behind their back.
Status Rewirings::check_policies(const Job& job, const WiringLayout& next) const {
  const auto& own = job.profile->policies;
  const bool asked =
      !core_.config.policies.links.empty() ||
      std::any_of(own.begin(), own.end(), [](const auto& policy) { return policy.kind == "links"; });
  for (const auto& carry : next.carries)
    if (asked && carry.id >= job.layout->next_carry)
      return Error(
          ErrorCode::kUnsupported,
          "a policy decides about links that leave a memory domain, and it is asked before a job starts: "
          "found such a link that is new");
  return ok();
}

std::uint64_t Rewirings::begin(Job& job, RewirePlan plan, std::chrono::milliseconds deadline) {
  auto& mine = of(job);
  MVM_ASSERT(mine.record.state == RewireState::kSteady);
  const auto number = next_number(job);
  if (mine.record.entries.size() >= kKeptRewirings) mine.record.entries.erase(mine.record.entries.begin());
  mine.record.entries.push_back(entry_of(number, plan.difference));
  mine.record.deadline_ms = core_.clock.wall_ms() + deadline.count();
  mine.record.patience_ms = deadline.count();
  mine.record.newcomers = newcomers_of(plan, number);
  mine.next = std::move(plan);
  // In kSteady every domain has the present wiring.
  if (job.lab_infos.size() == job.record.where.size())
    for (const auto& step :
         make_steps(job.profile->graph, *job.plan, *job.layout, context(job, mine, *job.layout)))
      mine.sent[step.wiring.steps.at("domain")] = plain(step.wiring.steps);
  fire(job, RewireEvent::kAsked);
  return number;
}

// ---- transitions

void Rewirings::fire(Job& job, RewireEvent event, const std::string& reason) {
  auto& mine = of(job);
  const auto before = mine.record.state;
  const auto after = step(before, event);
  if (!after) return;
  const auto name = transition_name(before, *after);
  core_.crash.pass(name, "uncommitted");
  ++mine.token;
  mine.held = false;
  mine.stopped = false;
  mine.joined.clear();
  core_.journal.group([&] {
    mine.record.state = *after;
    entered(job, mine, before, reason);
    save(job, mine);
  });
  log::info("job.rewiring", {{"job", job.record.id},
                             {"from", to_string(before)},
                             {"to", to_string(*after)},
                             {"generation", mine.record.generation},
                             {"reason", reason}});
  core_.journal.after_commit([this, id = job.record.id, token = mine.token, name] {
    core_.crash.pass(name, "committed");
    auto* again = core_.jobs->find(id);
    const auto found = rewirings_.find(id);
    if (again == nullptr || found == rewirings_.end() || found->second.token != token) return;
    watch_deadline(*again, found->second);
    if (found->second.record.state == RewireState::kSwitching) watch_leavers(*again, found->second);
    start_effect(*again);
  });
}

/// What entering a state writes down with it.
void Rewirings::entered(Job& job, Rewiring& mine, RewireState before, const std::string& reason) {
  auto& record = mine.record;
  const auto tell = [&](const char* event, const std::string& detail) {
    core_.journal.event({.event = event,
                         .lab = job.record.lab,
                         .job = job.record.id,
                         .node = {},
                         .detail = detail,
                         .user = job.record.user});
  };
  if (record.state != RewireState::kSteady) ++record.generation;
  if (record.state == RewireState::kSwitching) ++record.generation;  // two rounds
  switch (record.state) {
    case RewireState::kPreparing:
      core_.journal.put_large("graphs-next/" + job.record.id, encode(mine.next->profile->graph));
      if (!mine.next->difference.roles.empty())
        core_.journal.put_large("plans-next/" + job.record.id, encode(mine.next->plan));
      core_.journal.put_large("wirings-next/" + job.record.id, encode(mine.next->layout));
      tell("job.rewiring", summary(record.entries.back()));
      break;
    case RewireState::kStarting:
      break;
    case RewireState::kSwitching:
      decide(job, mine);
      tell("job.rewired", summary(record.entries.back()));
      break;
    case RewireState::kUndoing:
      record.entries.back().outcome = "undone";
      record.entries.back().reason = reason;
      drop_next(job.record.id, mine);
      tell("job.rewiring.undone", std::to_string(record.entries.back().number) + ": " + reason);
      break;
    case RewireState::kSweeping:
      job.layout = without(*job.layout, mine.drained, parted(job, mine));
      mine.drained.clear();
      core_.journal.put_large("wirings/" + job.record.id, encode(*job.layout));
      break;
    case RewireState::kSteady:
      if (mine.next || before == RewireState::kPreparing || before == RewireState::kStarting)
        drop_next(job.record.id, mine);  // its job left
      record.newcomers.clear();
      mine.pause = {};
      break;
  }
}

/// From here on the new wiring is the job's.
void Rewirings::decide(Job& job, Rewiring& mine) {
  core_.journal.put_large("graphs/" + job.record.id, encode(mine.next->profile->graph));
  core_.journal.put_large("wirings/" + job.record.id, encode(mine.next->layout));
  job.profile = std::move(mine.next->profile);
  job.layout = std::move(mine.next->layout);
  job.plan = std::move(mine.next->plan);
  job.plan->codecs = longer_chains(job.profile->graph, *job.layout);
  job.needs_known = false;
  core_.journal.put_large("plans/job/" + job.record.id, encode(*job.plan));
  job.record.rewired = true;
  core_.jobs->save(job);
  take_over(job, mine);
  mine.record.entries.back().outcome = "switched";
  drop_next(job.record.id, mine);
}

void Rewirings::drop_next(const std::string& job, Rewiring& mine) {
  mine.next.reset();
  core_.journal.erase_large("graphs-next/" + job);
  core_.journal.erase_large("wirings-next/" + job);
  core_.journal.erase_large("plans-next/" + job);
}

void Rewirings::left(Job& job) {
  const auto found = rewirings_.find(job.record.id);
  if (found == rewirings_.end()) return;
  ++found->second.token;  // what was asked about its links is of no use any more
  if (found->second.record.state == RewireState::kSteady) return;
  auto& entry = found->second.record.entries.back();
  if (entry.outcome.empty()) {
    entry.outcome = "undone";
    entry.reason = "the job runs no more";
  }
  fire(job, RewireEvent::kJobLeft, "the job runs no more");
}

void Rewirings::renewed(const std::string& job) {
  const auto found = rewirings_.find(job);
  if (found == rewirings_.end()) return;
  core_.journal.erase_large("wirings/" + job);
  found->second.sent.clear();
}

void Rewirings::forget(const std::string& job) {
  for (const auto* kind : {"graphs/", "wirings/", "graphs-next/", "wirings-next/", "plans-next/"})
    core_.journal.erase_large(kind + job);
  core_.journal.erase("rewires/" + job);
  rewirings_.erase(job);
}

void Rewirings::watch_deadline(Job& job, Rewiring& mine) {
  if (mine.record.state != RewireState::kPreparing && mine.record.state != RewireState::kStarting) return;
  const auto left = std::max<std::int64_t>(0, mine.record.deadline_ms - core_.clock.wall_ms());
  core_.after(std::chrono::milliseconds(left), [this, id = job.record.id, token = mine.token] {
    auto* again = core_.jobs->find(id);
    const auto found = rewirings_.find(id);
    if (again != nullptr && found != rewirings_.end() && found->second.token == token)
      fire(*again, RewireEvent::kFailed, late(found->second));
  });
}

/// What the deadline found.
std::string Rewirings::late(const Rewiring& mine) {
  for (const auto& one : mine.record.newcomers)
    if (mine.record.state == RewireState::kStarting && !one.end && !mine.joined.contains(one.process))
      return "the new process " + name_of_tag(one.process) + " has not joined its links in time";
  return "it was not prepared in time";
}

// ---- effects

void Rewirings::start_effect(Job& job) {
  if (job.record.core.state != JobState::kRunning) return;  // left() has settled it
  auto& mine = of(job);
  if (const auto known = core_.jobs->know_layout(job); !known) {
    log::error("job.rewiring.layout", {{"job", job.record.id}, {"why", known.error().describe()}});
    return;
  }
  const auto effect = effect_of(mine.record.state);
  if (!effect) {
    watch_drain(job, mine);
    return;
  }
  const bool undecided =
      mine.record.state == RewireState::kPreparing || mine.record.state == RewireState::kStarting;
  if (undecided && !mine.next) {
    // After a crash. What was asked for is on record; whether it can be read decides.
    auto next = recall(job);
    if (!next) {
      fire(job, RewireEvent::kFailed, "it cannot be read any more");
      return;
    }
    mine.next = std::move(*next);
  }
  if (!know_hosts(job, mine)) return;
  core_.crash.pass(to_string(*effect), "before");
  if (mine.record.state == RewireState::kStarting)
    start_newcomers(job, mine);
  else
    send(job, mine);
}

/// The wiring that is being prepared, from the store.
Result<RewirePlan> Rewirings::recall(Job& job) {
  RewirePlan next;
  MVM_ASSIGN(const auto graph_text, core_.journal.get_large("graphs-next/" + job.record.id));
  MVM_ASSIGN(auto graph, decode_graph(graph_text));
  MVM_ASSIGN(auto profile, topologies::with_graph(*job.profile, std::move(graph)));
  next.profile = std::make_shared<const topologies::Profile>(std::move(profile));
  const auto plan_text = core_.journal.get_large("plans-next/" + job.record.id);
  if (!plan_text && plan_text.error().code() != ErrorCode::kNotFound) return plan_text.error();
  next.plan = *job.plan;
  if (plan_text) {
    MVM_ASSIGN(next.plan, decode_plan(*plan_text));
  }
  MVM_ASSIGN(const auto layout_text, core_.journal.get_large("wirings-next/" + job.record.id));
  MVM_ASSIGN(next.layout, decode_layout(layout_text, next.profile->graph, next.plan));
  return next;
}

/// Where the hosts' proxies are; asked for where a host is to have one that had none, or to carry links in
/// another way than before. False: start_effect() comes again with the answer.
bool Rewirings::know_hosts(Job& job, Rewiring& mine) {
  auto* lab = core_.labs->find(job.record.lab);
  MVM_ASSERT(lab != nullptr);
  if (core_.labs->will_also_carry(*lab, mine.next ? mine.next->layout : *job.layout)) job.lab_infos.clear();
  if (job.lab_infos.size() >= job.record.where.size()) return true;
  if (std::exchange(mine.asking, true)) return false;
  auto left = std::make_shared<std::size_t>(job.record.where.size());
  for (const auto& host : job.record.where) {
    auto info = std::make_shared<host::LabInfo>();
    ++job.in_flight;
    core_.hosts->with(
        host,
        [spec = core_.labs->spec(*lab, host), info](HostAgent& agent) -> Status {
          MVM_ASSIGN(*info, agent.ensure_lab(spec));
          return ok();
        },
        [this, id = job.record.id, host, info, left](const Status& status) {
          auto* again = core_.jobs->find(id);
          if (again == nullptr) return;
          --again->in_flight;
          const auto found = rewirings_.find(id);
          if (found == rewirings_.end() || again->record.core.state != JobState::kRunning) return;
          if (status) again->lab_infos[host] = *info;
          if (--*left > 0) return;
          found->second.asking = false;
          if (again->lab_infos.size() < again->record.where.size())
            failed(*again, found->second, host,
                   status ? Error(ErrorCode::kUnavailable, "a host does not answer") : status.error());
          else
            start_effect(*again);
        });
  }
  return false;
}

std::vector<HostWiring> Rewirings::steps_of(Job& job, Rewiring& mine) {
  const Wired now{job.profile->graph, *job.plan, *job.layout};
  if (mine.record.state != RewireState::kPreparing)
    return make_steps(now.graph, now.plan, now.layout, context(job, mine, now.layout));
  return preparing_steps(now, {mine.next->profile->graph, mine.next->plan, mine.next->layout},
                         context(job, mine, prepared(now.layout, mine.next->layout)));
}

/// Nodes that processes leave, or may not come to after all, are told even if they have no other.
WiringContext Rewirings::context(const Job& job, const Rewiring& mine, const WiringLayout& layout) const {
  auto context = core_.jobs->wiring_context(job, mine.record.generation, layout);
  for (const auto* list : {&mine.record.newcomers, &mine.record.leavers})
    for (const auto& one : *list) context.also_told.insert(one.node);
  return context;
}

/// Who has nothing to prepare but will be switched is asked nevertheless: whether it answers.
std::set<std::string> Rewirings::concerned_later(Job& job, const Rewiring& mine) const {
  std::set<std::string> domains;
  if (mine.record.state != RewireState::kPreparing) return domains;
  const auto& next = *mine.next;
  for (const auto& step :
       make_steps(next.profile->graph, next.plan, next.layout, context(job, mine, next.layout))) {
    const std::string domain = step.wiring.steps.at("domain");
    const auto known = mine.sent.find(domain);
    if (known == mine.sent.end() || known->second != plain(step.wiring.steps)) domains.insert(domain);
  }
  return domains;
}

/// To every domain that does not certainly have it already. The new wiring comes in two rounds: all consumers
/// have their new links before the first producer leaves an old one. Else a stream might seem to end.
void Rewirings::send(Job& job, Rewiring& mine) {
  const bool first = mine.record.state == RewireState::kSwitching && !mine.held;
  std::vector<Part> parts;
  const auto concerned = concerned_later(job, mine);
  for (auto& step : steps_of(job, mine)) {
    auto text = plain(step.wiring.steps);
    const std::string domain = step.wiring.steps.at("domain");
    const auto known = mine.sent.find(domain);
    if (known != mine.sent.end() && known->second == text && !concerned.contains(domain)) continue;
    mine.sent.erase(domain);
    if (first) {
      step.wiring.steps["generation"] = mine.record.generation - 1;
      step.wiring.steps["hold"] = true;
    }
    parts.push_back(
        {.host = step.host,
         .work = [lab = job.record.lab, attempt = Jobs::attempt(job), wiring = std::move(step.wiring)](
                     HostAgent& agent) { return agent.wire(lab, attempt, wiring); },
         .domain = first ? std::string() : domain,
         .steps = std::move(text)});
  }
  run(job, mine, std::move(parts), /*patient=*/mine.record.state != RewireState::kPreparing);
}

void Rewirings::run(Job& job, Rewiring& mine, std::vector<Part> parts, bool patient) {
  mine.parts = parts.size();
  if (parts.empty()) {
    core_.crash.pass(to_string(*effect_of(mine.record.state)), "partial");
    effect_done(job, mine);
    return;
  }
  for (auto& part : parts) {
    ++job.in_flight;
    core_.hosts->with(
        part.host, std::move(part.work),
        [this, id = job.record.id, token = mine.token, host = part.host, domain = std::move(part.domain),
         steps = std::move(part.steps)](const Status& status) {
          part_done(id, token, host, domain, steps, status);
        },
        patient);
  }
}

void Rewirings::part_done(const std::string& id, std::uint64_t token, const std::string& host,
                          const std::string& domain, const json& steps, const Status& status) {
  auto* job = core_.jobs->find(id);
  if (job == nullptr) return;
  --job->in_flight;
  const auto found = rewirings_.find(id);
  if (found == rewirings_.end() || found->second.token != token) return;
  auto& mine = found->second;
  if (!status) {
    failed(*job, mine, host, status.error());
    return;
  }
  if (!domain.empty()) mine.sent[domain] = steps;
  core_.crash.pass(to_string(*effect_of(mine.record.state)), "partial");
  if (--mine.parts == 0) effect_done(*job, mine);
}

void Rewirings::failed(Job& job, Rewiring& mine, const std::string& host, const Error& error) {
  const auto reason = "host " + host + ": " + error.describe();
  if (mine.record.state == RewireState::kPreparing || mine.record.state == RewireState::kStarting) {
    fire(job, RewireEvent::kFailed, reason);
    return;
  }
  // It is decided: again, until every domain has it or the job runs no more.
  log::warning("job.rewiring.retry",
               {{"job", job.record.id}, {"state", to_string(mine.record.state)}, {"why", reason}});
  const auto token = ++mine.token;
  core_.after(core_.config.retry_first, [this, id = job.record.id, token] {
    auto* again = core_.jobs->find(id);
    const auto found = rewirings_.find(id);
    if (again != nullptr && found != rewirings_.end() && found->second.token == token) start_effect(*again);
  });
}

void Rewirings::effect_done(Job& job, Rewiring& mine) {
  const auto state = mine.record.state;
  if (state == RewireState::kSwitching && !std::exchange(mine.held, true)) {
    send(job, mine);
    return;
  }
  // They have lost their wiring by now: a call that starts one and was held up somewhere is refused.
  if (state == RewireState::kUndoing && !mine.record.newcomers.empty() &&
      !std::exchange(mine.stopped, true)) {
    stop_newcomers(job, mine);
    return;
  }
  if (state == RewireState::kStarting && !all_joined(mine)) {
    look_at_newcomers(job.record.id, mine.token);
    return;
  }
  core_.crash.pass(to_string(*effect_of(state)), "after");
  const bool starts = state == RewireState::kPreparing && !mine.record.newcomers.empty();
  fire(job, starts ? RewireEvent::kToStart : RewireEvent::kEffectsDone);
}

}  // namespace mvm::broker
