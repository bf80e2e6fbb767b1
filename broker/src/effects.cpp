// The effects of a job's states: what is asked of hosts, in parallel, every part of it repeatable.

#include <algorithm>

#include "jobs.h"
#include "json_fields.h"
#include "labs.h"
#include "logs.h"
#include "mvm/base/log.h"
#include "rest.h"
#include "scheduler.h"

namespace mvm::broker {
namespace {

using host::HostAgent;
using nlohmann::json;
using topologies::ProcessId;

/// Failures that another attempt may not meet; all others are the job's own.
bool is_fault(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kIo:
    case ErrorCode::kAborted:
    case ErrorCode::kCancelled:
    case ErrorCode::kConflict:
    case ErrorCode::kExhausted:
    case ErrorCode::kCorrupt:
    case ErrorCode::kNotFound:
      return true;
    case ErrorCode::kInvalid:
    case ErrorCode::kExists:
    case ErrorCode::kRefused:
    case ErrorCode::kNoPlacement:
    case ErrorCode::kUnsupported:
    case ErrorCode::kFailed:
      return false;
  }
  return true;
}

/// A node of a lab that goes on: what the attempt left there goes. True: the node had to be ended for it.
Result<bool> clean_node(HostAgent& agent, const std::string& lab, const std::string& node,
                        const std::string& attempt, std::chrono::milliseconds timeout) {
  const auto reply = agent.call(lab, node, "attempt.clean", {{"attempt", attempt}}, {}, timeout);
  if (reply || reply.error().code() == ErrorCode::kNotFound) return false;
  // It does not answer: only its end makes sure. The lab boots it again.
  MVM_TRY(agent.destroy_node(lab, node));
  return true;
}

}  // namespace

// ---- one after the other

void Jobs::start_effects(Job& job) {
  const auto effects = entry_effects(job.record.core);
  job.effects.assign(effects.begin(), effects.end());
  job.parts = 0;
  if (is_terminal(job.record.core.state)) return;
  next_effect(job);
}

void Jobs::next_effect(Job& job) {
  if (job.effects.empty()) {
    fire(job, JobEvent::kEffectsDone);
    return;
  }
  run_effect(job, job.effects.front());
}

void Jobs::run_effect(Job& job, Effect effect) {
  core_.crash.pass(to_string(effect), "before");
  switch (effect) {
    case Effect::kPlan:
      // The scheduler answers with planned() or cannot_place(), now or whenever something changes.
      pause_before_retry(job);
      core_.scheduler->wake();
      core_.crash.pass(to_string(effect), "partial");
      core_.crash.pass(to_string(effect), "after");
      break;
    case Effect::kEnsureLab:
      ensure_lab(job);
      break;
    case Effect::kBootBuilders:
      boot_builders(job);
      break;
    case Effect::kBuild:
      build(job);
      break;
    case Effect::kBootNodes:
      boot_nodes(job);
      break;
    case Effect::kDeliver:
      deliver(job);
      break;
    case Effect::kWire:
      wire(job);
      break;
    case Effect::kPrepare:
      prepare(job);
      break;
    case Effect::kStart:
      start(job);
      break;
    case Effect::kCollect:
      collect(job);
      break;
    case Effect::kTeardown:
      teardown(job);
      break;
  }
}

void Jobs::pause_before_retry(Job& job) {
  job.not_before = core_.clock.now();
  const auto attempts = job.record.core.attempt;
  if (attempts < 2) return;
  const auto pause =
      std::min(core_.config.retry_first * (1U << std::min(attempts - 2, 8U)), core_.config.retry_longest);
  job.not_before += pause;
  job.why = {"attempt " + std::to_string(attempts) + " follows in " + std::to_string(pause.count()) + " ms"};
  core_.after(pause, [this] { core_.scheduler->wake(); });
}

void Jobs::run_parts(Job& job, Effect effect, std::vector<Part> parts, bool patient) {
  job.parts = job.parts_all = parts.size();
  if (parts.empty()) {
    core_.crash.pass(to_string(effect), "partial");
    effect_done(job, effect);
    return;
  }
  for (auto& part : parts) {
    ++job.in_flight;
    core_.hosts->with(
        part.host, std::move(part.work),
        [this, id = job.record.id, token = job.token, effect, host = part.host, done = std::move(part.done)](
            const Status& status) { part_done(id, token, effect, host, status, done); },
        patient);
  }
}

void Jobs::part_done(const std::string& id, std::uint64_t token, Effect effect, const std::string& host,
                     const Status& status, const std::function<void()>& done) {
  auto* job = find(id);
  if (job == nullptr) return;
  --job->in_flight;
  if (job->token != token) return;
  if (!status) {
    failed(*job, effect, status.error(), host);
    return;
  }
  if (done) done();
  if (job->token != token) return;
  core_.crash.pass(to_string(effect), "partial");
  --job->parts;
  job->progress = std::string(to_string(effect)) + ": " + std::to_string(job->parts_all - job->parts) +
                  " of " + std::to_string(job->parts_all);
  if (job->parts == 0) effect_done(*job, effect);
}

void Jobs::failed(Job& job, Effect effect, const Error& error, const std::string& where) {
  const std::string reason = std::string(to_string(effect)) + " on host " + where + ": " + error.describe();
  if (effect == Effect::kTeardown) {
    // Until it is sure that nothing is left, the attempt counts as alive.
    job.why = {"cannot make sure that attempt " + std::to_string(job.record.core.attempt) +
               " is gone: " + reason};
    core_.look();
    const auto token = ++job.token;
    core_.after(core_.config.retry_first, [this, id = job.record.id, token] {
      auto* mine = find(id);
      if (mine != nullptr && mine->token == token) teardown(*mine);
    });
    return;
  }
  if (effect == Effect::kCollect && job.record.core.outcome == Outcome::kFailed) {
    // What a failed job left is brought back where it can be.
    core_.logs->note("job/" + job.record.id, "err", reason + "\n");
    if (--job.parts == 0) effect_done(job, effect);
    return;
  }
  fire(job, is_fault(error.code()) ? JobEvent::kFault : JobEvent::kJobFault, reason);
}

void Jobs::effect_done(Job& job, Effect effect) {
  core_.crash.pass(to_string(effect), "after");
  if (effect == Effect::kCollect) {
    core_.journal.group([&] {
      job.record.collected = true;
      core_.journal.put("results/" + job.record.id, encode(job.results));
      json ports = json::object();
      for (const auto& [port, digest] : job.rests) ports[port] = {{"digest", digest}, {"released", 0}};
      if (!ports.empty()) core_.journal.put("rests/" + job.record.id, json{{"ports", ports}}.dump());
      save(job);
    });
    // The nodes may go only once it is on record that their results are here.
    core_.journal.after_commit([this, id = job.record.id, token = job.token] {
      auto* mine = find(id);
      if (mine == nullptr || mine->token != token) return;
      mine->effects.pop_front();
      next_effect(*mine);
    });
    return;
  }
  if (effect == Effect::kStart) {
    job.started = true;
    job.effects.clear();
    core_.journal.event({.event = "job.running",
                         .lab = job.record.lab,
                         .job = job.record.id,
                         .node = {},
                         .detail = std::to_string(job.profile->graph.process_count()) + " processes",
                         .user = job.record.user});
    check_ended(job);
    return;
  }
  job.effects.pop_front();
  next_effect(job);
}

// ---- the lab and its nodes

void Jobs::ensure_lab(Job& job) {
  const auto* lab = core_.labs->find(job.record.lab);
  std::vector<Part> parts;
  for (const auto& host : job.record.where) {
    auto info = std::make_shared<host::LabInfo>();
    parts.push_back({.host = host,
                     .work = [spec = core_.labs->spec(*lab, host), info](HostAgent& agent) -> Status {
                       MVM_ASSIGN(*info, agent.ensure_lab(spec));
                       return ok();
                     },
                     .done = [&job, host, info] { job.lab_infos[host] = *info; }});
  }
  run_parts(job, Effect::kEnsureLab, std::move(parts));
}

Jobs::Part Jobs::boot_part(Job& job, const PlanNode& node) {
  const auto* lab = core_.labs->find(job.record.lab);
  auto info = std::make_shared<host::NodeInfo>();
  return {.host = node.host,
          .work = [spec = core_.labs->node_spec(*lab, node), timeout = core_.config.boot_timeout,
                   info](HostAgent& agent) -> Status {
            MVM_ASSIGN(*info, agent.ensure_node(spec, timeout));
            return ok();
          },
          .done = [this, id = job.record.lab, info] { core_.labs->node_up(id, *info); }};
}

void Jobs::boot_nodes(Job& job) {
  std::vector<Part> parts;
  for (const auto& node : job.plan->nodes) parts.push_back(boot_part(job, node));
  run_parts(job, Effect::kBootNodes, std::move(parts));
}

// ---- compiling

Result<std::vector<BuildNeed>> Jobs::needs_of(const Job& job, const topologies::Profile& profile,
                                              const Plan& plan) const {
  if (job.record.sources.size() != profile.programs.size())
    return Error(ErrorCode::kInvalid, "its profile means something else than when it was submitted");
  return build_needs(profile, plan, job.record.sources, attempt(job), core_.config.version);
}

Status Jobs::know_needs(Job& job) {
  if (job.needs_known) return ok();
  MVM_ASSIGN(job.needs, needs_of(job, *job.profile, *job.plan));
  job.needs_known = true;
  return ok();
}

void Jobs::boot_builders(Job& job) {
  if (const auto known = know_needs(job); !known) {
    fire(job, JobEvent::kJobFault, known.error().describe());
    return;
  }
  std::set<std::uint32_t> builders;
  for (const auto& need : job.needs)
    if (core_.builds->standing(need, job.record.id) == Builds::Standing::kMine) builders.insert(need.builder);
  std::vector<Part> parts;
  for (const auto n : builders) parts.push_back(boot_part(job, job.plan->nodes[n]));
  run_parts(job, Effect::kBootBuilders, std::move(parts));
}

void Jobs::build(Job& job) {
  std::vector<Part> parts;
  for (const auto& need : job.needs) {
    const auto standing = core_.builds->standing(need, job.record.id);
    if (standing == Builds::Standing::kDone) continue;
    core_.builds->wait_for(need.key, job.record.id);
    if (standing == Builds::Standing::kOthers) continue;
    if (core_.builds->fetching(need.key)) {
      core_.builds->fetch(need.key);
      continue;
    }
    const auto& program = job.profile->programs[need.program];
    const auto& node = job.plan->nodes[need.builder];
    core_.builds->take(need, job.record.id, job.record.lab, node, program);
    const json args = {{"key", need.key},
                       {"source", need.source},
                       {"command", program.build->command},
                       {"params", program.build->params},
                       {"limits",
                        {{"wall_ms", program.build->time_ms},
                         {"cpu_s", 4 * program.build->time_ms / 1000 + 1},
                         {"memory", program.build->memory},
                         {"processes", 256},
                         {"file_size", 1ULL << 30U}}}};
    parts.push_back({.host = node.host,
                     .work = [lab = job.record.lab, name = node.node, args, source = need.source,
                              timeout = core_.config.call_timeout](HostAgent& agent) -> Status {
                       if (!source.empty()) MVM_TRY(agent.send_blob(lab, name, source));
                       MVM_TRY(agent.call(lab, name, "build.start", args, {}, timeout));
                       return ok();
                     },
                     .done = {}});
  }
  // On record before a node is asked: whoever comes back after a crash knows who compiles what, and where.
  core_.journal.after_commit(
      [this, id = job.record.id, token = job.token, parts = std::move(parts)]() mutable {
        auto* mine = find(id);
        if (mine == nullptr || mine->token != token) return;
        mine->parts = mine->parts_all = parts.size();
        for (auto& part : parts) {
          ++mine->in_flight;
          core_.hosts->with(part.host, std::move(part.work),
                            [this, id, token, host = part.host](const Status& status) {
                              auto* building = find(id);
                              if (building == nullptr) return;
                              --building->in_flight;
                              if (building->token != token) return;
                              if (!status) {
                                failed(*building, Effect::kBuild, status.error(), host);
                                return;
                              }
                              --building->parts;
                              core_.crash.pass(to_string(Effect::kBuild), "partial");
                              check_built(*building);
                            });
        }
        check_built(*mine);
      });
}

/// Everything it needs is in the cache: on. Something that another job was to compile is nobody's: starts
/// over.
void Jobs::check_built(Job& job) {
  if (job.parts > 0) return;
  std::size_t missing = 0;
  bool orphaned = false;
  for (const auto& need : job.needs) {
    const auto standing = core_.builds->standing(need, job.record.id);
    if (standing == Builds::Standing::kDone) continue;
    ++missing;
    orphaned = orphaned ||
               (standing == Builds::Standing::kMine && !core_.builds->under_way(need.key, job.record.id));
  }
  job.progress =
      std::to_string(job.needs.size() - missing) + " of " + std::to_string(job.needs.size()) + " built";
  if (orphaned) {
    ++job.token;
    start_effects(job);
    return;
  }
  if (missing > 0) return;
  if (job.needs.empty()) core_.crash.pass(to_string(Effect::kBuild), "partial");
  for (const auto& need : job.needs) core_.builds->hit(need.key);
  effect_done(job, Effect::kBuild);
}

// ---- programs and files

void Jobs::deliver(Job& job) {
  if (const auto known = know_needs(job); !known) {
    fire(job, JobEvent::kJobFault, known.error().describe());
    return;
  }
  std::vector<std::set<std::string>> digests(job.plan->nodes.size());
  for (ProcessId p = 0; p < job.plan->node_of.size(); ++p)
    digests[job.plan->node_of[p]].merge(start_of(job, *job.profile, *job.plan, job.needs, p).blobs);
  std::vector<Part> parts;
  for (std::size_t n = 0; n < digests.size(); ++n) {
    if (digests[n].empty()) continue;
    const auto& node = job.plan->nodes[n];
    parts.push_back(
        {.host = node.host,
         .work = [lab = job.record.lab, name = node.node, blobs = digests[n]](HostAgent& agent) -> Status {
           for (const auto& digest : blobs) MVM_TRY(agent.send_blob(lab, name, digest));
           return ok();
         },
         .done = {}});
  }
  run_parts(job, Effect::kDeliver, std::move(parts));
}

// ---- queues and processes

WiringContext Jobs::wiring_context(const Job& job, std::uint64_t generation,
                                   const WiringLayout& layout) const {
  const auto* lab = core_.labs->find(job.record.lab);
  WiringContext context{.job = job.record.id,
                        .attempt = attempt(job),
                        .secret = lab->record.secret,
                        .codec_seed = lab->record.codec_seed,
                        .generation = generation,
                        .link_base = link_base(job.record),
                        .hosts = {},
                        .guests = {},
                        .params = job.profile->params};
  for (const auto& [host, info] : job.lab_infos)
    context.hosts[host] = {.bridge = Labs::bridge_address(lab->record.subnets.at(host)),
                           .bridge_port = info.bridge_port,
                           .proxy_address = info.proxy_address,
                           .proxy_port = info.proxy_port,
                           .plain_port = info.plain_port,
                           .region_port = info.region_port};
  for (const auto& guest : guests_with_tls(layout))
    context.guests[guest.name] = core_.labs->identity(*lab, guest.name);
  return context;
}

void Jobs::wire(Job& job) {
  const auto* lab = core_.labs->find(job.record.lab);
  // After a crash the addresses of the lab's proxies are asked for again.
  if (job.lab_infos.size() < job.record.where.size()) {
    auto infos = std::make_shared<std::map<std::string, host::LabInfo>>();
    auto left = std::make_shared<std::size_t>(job.record.where.size());
    for (const auto& host : job.record.where) {
      ++job.in_flight;
      auto info = std::make_shared<host::LabInfo>();
      core_.hosts->with(
          host,
          [spec = core_.labs->spec(*lab, host), info](HostAgent& agent) -> Status {
            MVM_ASSIGN(*info, agent.ensure_lab(spec));
            return ok();
          },
          [this, id = job.record.id, token = job.token, host, info, left](const Status& status) {
            auto* mine = find(id);
            if (mine == nullptr) return;
            --mine->in_flight;
            if (mine->token != token) return;
            if (!status) {
              failed(*mine, Effect::kWire, status.error(), host);
              return;
            }
            mine->lab_infos[host] = *info;
            if (--*left == 0) wire(*mine);
          });
    }
    return;
  }
  if (const auto known = know_layout(job); !known) {
    fire(job, JobEvent::kJobFault, known.error().describe());
    return;
  }
  const auto context = wiring_context(job, 1, *job.layout);
  std::vector<Part> parts;
  for (auto& step : make_steps(job.profile->graph, *job.plan, *job.layout, context))
    parts.push_back(
        {.host = step.host,
         .work = [lab_id = job.record.lab, attempt_id = context.attempt, wiring = std::move(step.wiring)](
                     HostAgent& agent) { return agent.wire(lab_id, attempt_id, wiring); },
         .done = {}});
  run_parts(job, Effect::kWire, std::move(parts));
}

/// Numbers of carried links start here: unlike in every job and attempt, within 53 bits as JSON readers want
/// them.
std::uint64_t Jobs::link_base(const JobRecord& record) {
  return (record.number % (1U << 20U) << 6U | (record.core.attempt & 63U)) << 26U;
}

/// Every process is made and waits: where one cannot be, none has begun.
void Jobs::prepare(Job& job) {
  if (const auto known = know_needs(job); !known) {
    fire(job, JobEvent::kJobFault, known.error().describe());
    return;
  }
  std::vector<std::vector<json>> calls(job.plan->nodes.size());
  for (ProcessId p = 0; p < job.plan->node_of.size(); ++p) {
    auto args = start_of(job, *job.profile, *job.plan, job.needs, p).args;
    args["hold"] = true;
    calls[job.plan->node_of[p]].push_back(std::move(args));
  }
  std::vector<Part> parts;
  for (std::size_t n = 0; n < calls.size(); ++n) {
    if (calls[n].empty()) continue;
    const auto& node = job.plan->nodes[n];
    parts.push_back(
        {.host = node.host, .work = start_work(job, node.node, {}, std::move(calls[n])), .done = {}});
  }
  run_parts(job, Effect::kPrepare, std::move(parts));
}

void Jobs::start(Job& job) {
  std::vector<std::vector<std::string>> held(job.plan->nodes.size());
  for (ProcessId p = 0; p < job.plan->node_of.size(); ++p)
    if (!job.ends.contains(process_tag(job.profile->graph, *job.plan, p)))
      held[job.plan->node_of[p]].push_back(process_id(attempt(job), job.profile->graph, *job.plan, p));
  std::vector<Part> parts;
  for (std::size_t n = 0; n < held.size(); ++n) {
    if (held[n].empty()) continue;
    const auto& node = job.plan->nodes[n];
    parts.push_back({.host = node.host,
                     .work = [lab = job.record.lab, name = node.node, procs = std::move(held[n]),
                              timeout = core_.config.call_timeout](HostAgent& agent) -> Status {
                       MVM_TRY(agent.call(lab, name, "proc.release", {{"procs", procs}}, {}, timeout));
                       return ok();
                     },
                     .done = {}});
  }
  run_parts(job, Effect::kStart, std::move(parts));
}

// ---- the end

/// What clients outside have not taken out of open ports is kept with the job.
void Jobs::collect_rests(Job& job, std::vector<Part>& parts) {
  job.rests.clear();
  if (!know_layout(job)) return;
  for (const auto& end : job.layout->outside) {
    if (end.producer) continue;
    const auto& node = job.plan->nodes[end.node];
    auto digest = std::make_shared<std::string>();
    auto lost = std::make_shared<std::uint64_t>(0);
    parts.push_back({.host = node.host,
                     .work = [lab = job.record.lab, name = node.node, attempt_id = attempt(job),
                              queue = queue_id(job.layout->queues[end.queue]), &blobs = core_.blobs, digest,
                              lost](HostAgent& agent) -> Status {
                       MVM_ASSIGN(const auto rest, fetch_rest(agent, lab, name, attempt_id, queue, *lost));
                       MVM_ASSIGN(*digest, blobs.put(rest));
                       return ok();
                     },
                     .done =
                         [this, &job, port = job.profile->graph.link_name(end.link), digest, lost] {
                           job.rests[port] = *digest;
                           if (*lost > 0)
                             core_.logs->note("job/" + job.record.id, "err",
                                              port + ": " + std::to_string(*lost) +
                                                  " messages that nobody took were not kept\n");
                         }});
  }
}

void Jobs::collect(Job& job) {
  std::vector<Part> parts;
  job.results.clear();
  const bool nothing = job.record.collected || job.record.running_ms == 0;
  const auto& graph = job.profile->graph;
  for (const auto& stage : job.profile->stage_out) {
    if (nothing) break;
    for (const auto process : stage.from) {
      const auto& node = job.plan->nodes[job.plan->node_of[process]];
      auto file = std::make_shared<soap::ResultFile>();
      file->name = stage.name;
      file->process = graph.process_name(process);
      const json args = {{"proc", process_id(attempt(job), graph, *job.plan, process)}, {"name", stage.name}};
      parts.push_back({.host = node.host,
                       .work = [lab = job.record.lab, name = node.node, args, file, optional = stage.optional,
                                timeout = core_.config.call_timeout](HostAgent& agent) -> Status {
                         auto reply = agent.call(lab, name, "file.get", args, {}, timeout);
                         if (!reply && reply.error().code() == ErrorCode::kNotFound) {
                           if (optional) return ok();
                           return Error(ErrorCode::kFailed, file->process + " left no file " + file->name);
                         }
                         if (!reply) return reply.error();
                         const auto digest = fields::text(reply->result, "digest");
                         MVM_TRY(agent.fetch_blob(lab, name, digest));
                         file->digest = digest;
                         file->size = fields::number(reply->result, "size");
                         return ok();
                       },
                       .done =
                           [&job, file] {
                             if (!file->digest.empty()) job.results.push_back(*file);
                           }});
    }
  }
  if (!nothing) collect_rests(job, parts);
  if (job.record.collected) {
    job.effects.pop_front();
    next_effect(job);
    return;
  }
  run_parts(job, Effect::kCollect, std::move(parts));
}

void Jobs::teardown(Job& job) {
  std::vector<Part> parts;
  const auto strays = job.in_flight;
  const bool own = job.record.own_lab;
  for (const auto& host : job.record.where) {
    auto ended = std::make_shared<std::vector<std::string>>();
    std::vector<std::string> nodes;
    for (const auto& node : job.plan->nodes)
      if (node.host == host) nodes.push_back(node.node);
    parts.push_back({.host = host,
                     .work = [own, lab = job.record.lab, attempt_id = attempt(job), nodes, ended,
                              timeout = core_.config.call_timeout](HostAgent& agent) -> Status {
                       if (own) return agent.destroy_lab(lab);
                       for (const auto& node : nodes) {
                         MVM_ASSIGN(const bool gone, clean_node(agent, lab, node, attempt_id, timeout));
                         if (gone) ended->push_back(node);
                       }
                       return agent.unwire(lab, attempt_id);
                     },
                     .done =
                         [this, lab = job.record.lab, ended] {
                           for (const auto& node : *ended)
                             core_.labs->node_lost(lab, node, "it did not answer and was ended");
                         }});
  }
  job.parts = job.parts_all = parts.size();
  // A call of an earlier state that is still under way could make something again: then once more, after it.
  const auto finish = [this, strays](Job& mine) {
    if (strays == 0) {
      effect_done(mine, Effect::kTeardown);
      return;
    }
    const auto token = ++mine.token;
    core_.after(std::chrono::milliseconds(20), [this, id = mine.record.id, token] {
      auto* again = find(id);
      if (again != nullptr && again->token == token) teardown(*again);
    });
  };
  if (parts.empty()) {
    core_.crash.pass(to_string(Effect::kTeardown), "partial");
    finish(job);
    return;
  }
  for (auto& part : parts) {
    ++job.in_flight;
    core_.hosts->with(
        part.host, std::move(part.work),
        [this, id = job.record.id, token = job.token, host = part.host, finish,
         done = std::move(part.done)](const Status& status) {
          auto* mine = find(id);
          if (mine == nullptr) return;
          --mine->in_flight;
          if (mine->token != token) return;
          if (!status) {
            failed(*mine, Effect::kTeardown, status.error(), host);
            return;
          }
          done();
          core_.crash.pass(to_string(Effect::kTeardown), "partial");
          if (--mine->parts == 0) finish(*mine);
        },
        /*patient=*/true);
  }
}

}  // namespace mvm::broker
