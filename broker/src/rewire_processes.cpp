// Processes that a rewiring starts, and those that it lets go.

#include <algorithm>
#include <csignal>

#include "json_fields.h"
#include "labs.h"
#include "mvm/base/log.h"
#include "rewirings.h"

namespace mvm::broker {
namespace {

using host::HostAgent;
using nlohmann::json;

/// Between asking a process that has not left in time to end, and killing it.
constexpr std::chrono::seconds kGrace{10};

constexpr std::chrono::milliseconds kFirstLook{10};
constexpr std::chrono::milliseconds kLongestPause{500};
constexpr std::chrono::seconds kAnswer{5};

/// The tags of those whom the node's kernel knows to have joined.
Status ask_joined(HostAgent& agent, const std::string& lab, const std::string& node,
                  const std::string& attempt, std::set<std::string>& joined) {
  MVM_ASSIGN(const auto reply,
             agent.call(lab, node, "wire.stats", {{"attempt", attempt}, {"processes", true}}, {}, kAnswer));
  const auto processes = reply.result.find("processes");
  if (processes == reply.result.end() || !processes->is_array()) return ok();
  for (const auto& one : *processes) {
    if (!one.is_object() || !fields::flag(one, "joined")) continue;
    if (const auto process = fields::text(one, "proc"); process.starts_with(attempt + "/"))
      joined.insert(process.substr(attempt.size() + 1));
  }
  return ok();
}

MovingProcess* open_one(std::vector<MovingProcess>& processes, const std::string& tag) {
  const auto found = std::find_if(processes.begin(), processes.end(),
                                  [&](const auto& one) { return one.process == tag && !one.end; });
  return found == processes.end() ? nullptr : &*found;
}

/// Signals a process; one that is not there is as good as ended.
Status signal_process(HostAgent& agent, const std::string& lab, const std::string& node,
                      const std::string& process, int signal, std::chrono::milliseconds timeout) {
  const auto reply =
      agent.call(lab, node, "proc.signal", {{"proc", process}, {"signal", signal}}, {}, timeout);
  if (reply || reply.error().code() == ErrorCode::kNotFound) return ok();
  return reply.error();
}

/// Forgets some that have left: the oldest first, and those last that failed.
void trim(std::vector<MovingProcess>& leavers, const std::vector<PartingProcess>& parting) {
  auto surplus = leavers.size() - std::min(leavers.size(), kKeptLeavers);
  std::set<std::string> wired;
  for (const auto& one : parting) wired.insert(one.process);
  for (const bool failed : {false, true})
    std::erase_if(leavers, [&](const auto& one) {
      if (surplus == 0 || !one.end || (exit_code(*one.end) != 0) != failed || wired.contains(one.process))
        return false;
      --surplus;
      return true;
    });
}

}  // namespace

// ---- before

Status Rewirings::check_newcomers(const Job& job, const topologies::Profile& next, const Plan& plan,
                                  std::uint64_t number) const {
  const auto& going = leavers(job);
  const auto fresh = std::count_if(plan.born.begin(), plan.born.end(),
                                   [&](const auto& entry) { return entry.second == number; });
  if (fresh == 0) return ok();
  MVM_ASSIGN(const auto needs, core_.jobs->needs_of(job, next, plan));
  for (const auto& [process, rewiring] : plan.born) {
    if (rewiring != number) continue;
    const auto name = next.graph.process_name(process);
    for (const auto& one : going)
      if (!one.end && name_of_tag(one.process) == name)
        return Error(ErrorCode::kNoPlacement,
                     name + " of an earlier wiring has not left yet: try again when it has ended");
    const auto program = next.graph.role_of(process);
    const auto& node = plan.nodes[plan.node_of[process]];
    for (const auto& need : needs) {
      const bool its = need.program == program && std::find(need.nodes.begin(), need.nodes.end(),
                                                            plan.node_of[process]) != need.nodes.end();
      if (its && core_.builds->standing(need, job.record.id) != Builds::Standing::kDone)
        return Error(ErrorCode::kNoPlacement, "the program of " + name + " is not in the cache as node " +
                                                  node.node + " needs it (" + node.architecture +
                                                  "): a running job compiles nothing");
    }
  }
  return ok();
}

std::vector<MovingProcess> Rewirings::newcomers_of(const RewirePlan& plan, std::uint64_t number) {
  std::vector<MovingProcess> newcomers;
  for (const auto& [process, rewiring] : plan.plan.born)
    if (rewiring == number)
      newcomers.push_back({.process = process_tag(plan.profile->graph, plan.plan, process),
                           .node = plan.plan.node_of[process],
                           .deadline_ms = 0,
                           .end = std::nullopt});
  return newcomers;
}

// ---- newcomers

/// Every node's own at once. Their queues and their wiring are there.
void Rewirings::start_newcomers(Job& job, Rewiring& mine) {
  const auto& next = *mine.next;
  const auto needs = core_.jobs->needs_of(job, *next.profile, next.plan);
  if (!needs) {
    fire(job, RewireEvent::kFailed, needs.error().describe());
    return;
  }
  struct Load {
    std::set<std::string> blobs;
    std::vector<json> calls;
  };
  std::map<std::uint32_t, Load> loads;
  for (const auto& one : mine.record.newcomers) {
    const auto process = find_tag(next.profile->graph, next.plan, one.process);
    if (!process || one.end) continue;
    auto start = core_.jobs->start_of(job, *next.profile, next.plan, *needs, *process);
    loads[one.node].blobs.merge(start.blobs);
    loads[one.node].calls.push_back(std::move(start.args));
  }
  std::vector<Part> parts;
  for (auto& [number, load] : loads) {
    const auto& node = job.plan->nodes.at(number);
    parts.push_back(
        {.host = node.host,
         .work = core_.jobs->start_work(job, node.node, std::move(load.blobs), std::move(load.calls)),
         .domain = {},
         .steps = {}});
  }
  run(job, mine, std::move(parts), /*patient=*/false);
}

bool Rewirings::all_joined(const Rewiring& mine) {
  return std::all_of(mine.record.newcomers.begin(), mine.record.newcomers.end(),
                     [&](const auto& one) { return one.end || mine.joined.contains(one.process); });
}

/// Asks their nodes who has come for its ends. The deadline ends this, too.
void Rewirings::look_at_newcomers(const std::string& id, std::uint64_t token) {
  auto* job = core_.jobs->find(id);
  const auto found = rewirings_.find(id);
  if (job == nullptr || found == rewirings_.end() || found->second.token != token) return;
  std::set<std::uint32_t> nodes;
  for (const auto& one : found->second.record.newcomers)
    if (!one.end && !found->second.joined.contains(one.process)) nodes.insert(one.node);
  if (nodes.empty()) {
    effect_done(*job, found->second);
    return;
  }
  auto left = std::make_shared<std::size_t>(nodes.size());
  for (const auto number : nodes) {
    const auto& node = job->plan->nodes.at(number);
    auto joined = std::make_shared<std::set<std::string>>();
    core_.hosts->with(
        node.host,
        [lab = job->record.lab, name = node.node, attempt = Jobs::attempt(*job), joined](HostAgent& agent) {
          return ask_joined(agent, lab, name, attempt, *joined);
        },
        [this, id, token, joined, left](const Status&) {
          auto* again = core_.jobs->find(id);
          const auto mine = rewirings_.find(id);
          if (again == nullptr || mine == rewirings_.end() || mine->second.token != token) return;
          mine->second.joined.insert(joined->begin(), joined->end());
          if (--*left > 0) return;
          if (all_joined(mine->second)) {
            effect_done(*again, mine->second);
            return;
          }
          auto& pause = mine->second.pause;
          pause = std::clamp(2 * pause, kFirstLook, kLongestPause);
          core_.after(pause, [this, id, token] { look_at_newcomers(id, token); });
        });
  }
}

void Rewirings::stop_newcomers(Job& job, Rewiring& mine) {
  std::map<std::uint32_t, std::vector<std::string>> by_node;
  for (const auto& one : mine.record.newcomers)
    by_node[one.node].push_back(Jobs::attempt(job) + "/" + one.process);
  std::vector<Part> parts;
  for (auto& [number, processes] : by_node) {
    const auto& node = job.plan->nodes.at(number);
    parts.push_back({.host = node.host,
                     .work = [lab = job.record.lab, name = node.node, all = std::move(processes),
                              timeout = core_.config.call_timeout](HostAgent& agent) -> Status {
                       for (const auto& process : all)
                         MVM_TRY(signal_process(agent, lab, name, process, SIGKILL, timeout));
                       return ok();
                     },
                     .domain = {},
                     .steps = {}});
  }
  run(job, mine, std::move(parts), /*patient=*/true);
}

/// With the decision: newcomers are the job's processes, leavers are not.
void Rewirings::take_over(Job& job, Rewiring& mine) {
  auto& record = mine.record;
  for (const auto& one : record.newcomers)
    if (one.end) job.ends[one.process] = *one.end;
  record.newcomers.clear();
  std::set<std::string> known;
  for (const auto& one : record.leavers) known.insert(one.process);
  for (const auto& parting : job.layout->parting) {
    if (known.contains(parting.process)) continue;
    record.leavers.push_back({.process = parting.process,
                              .node = parting.node,
                              .deadline_ms = core_.clock.wall_ms() + record.patience_ms,
                              .end = std::nullopt});
    if (const auto end = job.ends.find(parting.process); end != job.ends.end()) {
      record.leavers.back().end = end->second;
      job.ends.erase(end);
    }
  }
  trim(record.leavers, job.layout->parting);
}

// ---- leavers

const std::vector<MovingProcess>& Rewirings::leavers(const Job& job) const {
  static const std::vector<MovingProcess> kNone;
  const auto* mine = present(job);
  return mine == nullptr ? kNone : mine->record.leavers;
}

/// Those that have ended and are wired still.
std::set<std::string> Rewirings::parted(const Job& job, const Rewiring& mine) const {
  std::set<std::string> open;
  for (const auto& one : mine.record.leavers)
    if (!one.end) open.insert(one.process);
  std::set<std::string> tags;
  for (const auto& parting : job.layout->parting)
    if (!open.contains(parting.process)) tags.insert(parting.process);
  return tags;
}

void Rewirings::watch_leavers(const Job& job, const Rewiring& mine) {
  for (const auto& one : mine.record.leavers)
    if (!one.end)
      watch_leaver(
          job.record.id, mine.record.attempt, one.process,
          std::chrono::milliseconds(std::max<std::int64_t>(0, one.deadline_ms - core_.clock.wall_ms())),
          SIGTERM);
}

void Rewirings::watch_leaver(const std::string& id, std::uint32_t attempt, const std::string& tag,
                             std::chrono::milliseconds delay, int signal) {
  core_.after(delay, [this, id, attempt, tag, signal] { end_leaver(id, attempt, tag, signal); });
}

/// It has not ended at the end of its streams: it is asked to, then killed, until its end is told.
void Rewirings::end_leaver(const std::string& id, std::uint32_t attempt, const std::string& tag, int signal) {
  auto* job = core_.jobs->find(id);
  const auto found = rewirings_.find(id);
  if (job == nullptr || found == rewirings_.end() || job->record.core.state != JobState::kRunning ||
      job->record.core.attempt != attempt || found->second.record.attempt != attempt)
    return;
  const auto* one = open_one(found->second.record.leavers, tag);
  if (one == nullptr) return;
  const auto& node = job->plan->nodes.at(one->node);
  if (signal == SIGTERM)
    core_.journal.event({.event = "process.late",
                         .lab = job->record.lab,
                         .job = id,
                         .node = node.node,
                         .detail = name_of_tag(tag) + " was to leave and has not ended in time: it is ended",
                         .user = job->record.user});
  log::warning("job.leaver.late", {{"job", id}, {"process", tag}, {"signal", signal}});
  ++job->in_flight;
  core_.hosts->with(
      node.host,
      [lab = job->record.lab, name = node.node, process = Jobs::attempt(*job) + "/" + tag, signal,
       timeout = core_.config.call_timeout](HostAgent& agent) {
        return signal_process(agent, lab, name, process, signal, timeout);
      },
      [this, id](const Status&) {
        if (auto* again = core_.jobs->find(id)) --again->in_flight;
      });
  watch_leaver(id, attempt, tag, kGrace, SIGKILL);
}

// ---- both

std::uint32_t Rewirings::moving_node(const Job& job, const std::string& tag) const {
  const auto* mine = present(job);
  if (mine == nullptr) return kNowhere;
  for (const auto* list : {&mine->record.newcomers, &mine->record.leavers})
    for (const auto& one : *list)
      if (one.process == tag && !one.end) return one.node;
  return kNowhere;
}

void Rewirings::moving_ended(Job& job, const std::string& tag, const EndRecord& end) {
  auto& mine = of(job);
  auto& record = mine.record;
  auto* const newcomer = open_one(record.newcomers, tag);
  auto* const one = newcomer != nullptr ? newcomer : open_one(record.leavers, tag);
  if (one == nullptr) return;
  one->end = end;
  save(job, mine);
  const bool undecided = record.state == RewireState::kPreparing || record.state == RewireState::kStarting;
  if (newcomer != nullptr) {
    core_.jobs->keep_end(job, tag, end);
    if (undecided && exit_code(end) != 0)
      fire(job, RewireEvent::kFailed, "the new process " + name_of_tag(tag) + " " + how_ended(end));
    return;
  }
  if (record.state == RewireState::kSteady && core_.jobs->know_layout(job)) fire(job, RewireEvent::kDrained);
}

}  // namespace mvm::broker
