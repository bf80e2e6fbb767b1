#include "scheduler.h"

#include <algorithm>

#include "hosts.h"
#include "jobs.h"
#include "labs.h"

namespace mvm::broker {
namespace {

/// Jobs of one pass, and those of it that may find no room before it ends.
constexpr std::size_t kPass = 2'000;
constexpr std::size_t kMisses = 64;
/// Before a policy that failed is asked again about a job.
constexpr std::chrono::seconds kPolicyPause{10};

bool waits(const Job& job, Clock::Instant now) {
  return job.not_before <= now && job.record.core.state == JobState::kSubmitted && !job.effects.empty() &&
         job.effects.front() == Effect::kPlan;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    result.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return result;
}

}  // namespace

Scheduler::Scheduler(Core& core) : core_(core), policies_(std::make_unique<PolicyRunner>(core)) {}

Scheduler::~Scheduler() = default;

void Scheduler::stop() { policies_->stop(); }

void Scheduler::wake() {
  if (running_) {
    again_ = true;
    return;
  }
  if (posted_) return;
  posted_ = true;
  core_.post([this] {
    posted_ = false;
    pass();
  });
}

Snapshot Scheduler::snapshot(const std::string& lab_id) const {
  Snapshot snapshot;
  snapshot.overcommit = {.container = core_.config.container_overcommit,
                         .guest = core_.config.guest_overcommit};
  const auto* lab = core_.labs->find(lab_id);
  if (lab == nullptr || lab->record.ephemeral) {
    snapshot.hosts = core_.hosts->snapshot();
    return snapshot;
  }
  snapshot.in_lab = true;
  for (const auto& node : lab->plan.nodes) {
    const auto status = lab->status.find(node.node);
    snapshot.nodes.push_back(
        {.node = node.node,
         .host = node.host,
         .driver = node.driver,
         .image = node.image,
         .image_digest = node.image_digest,
         .architecture = node.architecture,
         .address = node.address,
         .toolchain = node.toolchain,
         .vcpus = node.vcpus,
         .memory = node.memory,
         .machines = node.machines,
         .up = status != lab->status.end() && status->second.state == host::NodeState::kUp,
         .seat = node.seat});
  }
  return snapshot;
}

void Scheduler::pass() {
  if (running_) return;
  std::vector<WaitingJob> jobs;
  UsageByUser usage;
  const Overcommit overcommit{.container = core_.config.container_overcommit,
                              .guest = core_.config.guest_overcommit};
  for (const auto& [number, job] : core_.jobs->all()) {
    const auto& record = job->record;
    if (may_be_alive(record.core.state) && job->plan)
      for (const auto& node : job->plan->nodes)
        usage[record.user] += milli_cost(node.driver, node.vcpus, overcommit);
    if (!waits(*job, core_.clock.now()) || jobs.size() >= kPass) continue;
    WaitingJob waiting{.id = record.id,
                       .user = record.user,
                       .number = number,
                       .submitted_ms = record.submitted_ms,
                       .attempt = record.core.attempt,
                       .milli_vcpus = 0,
                       .memory = 0,
                       .nodes = 0};
    for (const auto& machines : job->profile->machines) {
      waiting.milli_vcpus += machines.count * milli_cost(machines.driver, machines.vcpus, overcommit);
      waiting.memory += machines.count * machines.memory;
      waiting.nodes += machines.count;
    }
    jobs.push_back(std::move(waiting));
  }
  if (jobs.empty()) return;
  running_ = true;
  std::vector<std::string> ids;
  for (const auto& job : jobs) ids.push_back(job.id);
  policies_->order(std::move(jobs), usage, [this, ids = std::move(ids)](const OrderAnswer& answer) {
    std::vector<std::string> order;
    for (const auto n : answer.order) order.push_back(ids[n]);
    ordered(std::move(order), answer.strict);
  });
}

void Scheduler::ordered(std::vector<std::string> jobs, bool strict) {
  queue_ = std::move(jobs);
  at_ = 0;
  strict_ = strict;
  waiting_ = 0;
  next();
}

void Scheduler::next() {
  while (at_ < queue_.size()) {
    auto* job = core_.jobs->find(queue_[at_++]);
    if (job == nullptr || !waits(*job, core_.clock.now())) continue;
    const auto* lab = core_.labs->find(job->record.lab);
    const bool own = lab != nullptr && lab->record.ephemeral;
    if (own && (waiting_ >= kMisses || (strict_ && waiting_ > 0))) {
      core_.jobs->cannot_place(*job, {"waits for " + std::to_string(waiting_) + " job" +
                                      (waiting_ == 1 ? "" : "s") + " before it in the queue"});
      continue;
    }
    if (!own) {
      auto plan = plan_for(*job, std::nullopt);
      if (!plan) {
        settle(*job, std::move(plan));
        continue;
      }
      link(*job, std::move(*plan), std::nullopt);
      return;
    }
    place(*job);
    return;
  }
  done();
}

void Scheduler::place(Job& job) {
  auto preparation = prepare(snapshot(""), *job.profile);
  if (!preparation.reasons.empty()) {
    cannot(job, std::move(preparation.reasons), preparation.hopeless);
    core_.post([this] { next(); });
    return;
  }
  auto problem = preparation.problem;
  const auto own = std::find_if(job.profile->policies.begin(), job.profile->policies.end(),
                                [](const auto& policy) { return policy.kind == "placement"; });
  const auto component =
      own == job.profile->policies.end() ? core_.config.policies.placement : own->component;
  policies_->place(component, std::move(preparation.problem),
                   [this, id = job.record.id, problem = std::move(problem)](
                       const std::optional<Placement>& placement) { placed(id, problem, placement); });
}

void Scheduler::placed(const std::string& id, const PlacementProblem& problem,
                       const std::optional<Placement>& placement) {
  auto* job = core_.jobs->find(id);
  const bool waiting = job != nullptr && waits(*job, core_.clock.now());
  auto plan = waiting && placement ? plan_for(*job, placement) : Result<Plan>(Plan());
  if (waiting && placement && plan) {
    link(*job, std::move(*plan), placement);
    return;
  }
  if (waiting && (!placement || plan.error().code() == ErrorCode::kConflict))
    cannot(*job, explain_shortage(snapshot(""), *job->profile, problem), false);
  else if (waiting)
    settle(*job, std::move(plan));
  core_.post([this] { next(); });
}

/// The world may have moved while a policy thought: what is free now decides. kConflict where a placement
/// fits no more.
Result<Plan> Scheduler::plan_for(const Job& job, const std::optional<Placement>& placement) const {
  if (!placement) return plan_in_lab(snapshot(job.record.lab), *job.profile);
  const auto now = snapshot("");
  const auto preparation = prepare(now, *job.profile);
  if (!check_placement(preparation.problem, *placement))
    return Error(ErrorCode::kConflict, "the placement fits no more");
  return make_plan(now, *job.profile, *placement);
}

/// Asks the policies what they add to the links that this plan carries between memory domains.
void Scheduler::link(Job& job, Plan plan, const std::optional<Placement>& placement) {
  std::vector<PolicyUse> uses;
  for (const auto& policy : job.profile->policies)
    if (policy.kind == "links") uses.push_back({.component = policy.component, .options = policy.options});
  const auto& everybodys = core_.config.policies.links;
  uses.insert(uses.end(), everybodys.begin(), everybodys.end());
  std::vector<CarriedLink> links;
  if (!uses.empty())
    if (const auto layout = lay_out(job.profile->graph, plan))
      links = carried_links(job.profile->graph, *layout);
  if (links.empty()) {
    settle(job, std::move(plan));
    core_.post([this] { next(); });
    return;
  }
  policies_->extend(std::move(uses), std::move(links),
                    [this, id = job.record.id, plan = std::move(plan),
                     placement](Result<std::vector<CarriedLink>> extended) mutable {
                      linked(id, std::move(plan), placement, std::move(extended));
                      core_.post([this] { next(); });
                    });
}

void Scheduler::linked(const std::string& id, Plan plan, const std::optional<Placement>& placement,
                       Result<std::vector<CarriedLink>> links) {
  auto* job = core_.jobs->find(id);
  if (job == nullptr || !waits(*job, core_.clock.now())) return;
  if (!links) {  // another try may find the component mended
    cannot(*job, {links.error().describe()}, true);
    core_.after(kPolicyPause, [this] { wake(); });
    return;
  }
  if (const auto now = plan_for(*job, placement); !now || *now != plan) {
    again_ = true;  // what was asked about is not what would be done
    return;
  }
  for (auto& link : *links)
    if (link.codecs != job->profile->graph.link(link.link).spec->codecs)
      plan.codecs[link.link] = std::move(link.codecs);
  settle(*job, std::move(plan));
}

void Scheduler::settle(Job& job, Result<Plan> plan) {
  const Status planned = plan ? core_.jobs->planned(job, std::move(*plan)) : Status(plan.error());
  if (planned) return;
  const auto* lab = core_.labs->find(job.record.lab);
  if (lab != nullptr && lab->record.ephemeral)
    cannot(job, lines(planned.error().message()), false);
  else
    core_.jobs->cannot_place(job, lines(planned.error().message()));
}

void Scheduler::cannot(Job& job, std::vector<std::string> reasons, bool hopeless) {
  // One that no host could take as things are must not hold up the others.
  if (!hopeless) ++waiting_;
  core_.jobs->cannot_place(job, std::move(reasons));
}

void Scheduler::done() {
  running_ = false;
  queue_.clear();
  if (!again_) return;
  again_ = false;
  wake();
}

}  // namespace mvm::broker
