#include <algorithm>
#include <condition_variable>

#include "api.h"
#include "execs.h"
#include "hosts.h"
#include "jobs.h"
#include "json_fields.h"
#include "labs.h"
#include "logs.h"
#include "mvm/topologies/codecs.h"
#include "mvm/topologies/drawing.h"
#include "scheduler.h"
#include "submission.h"

namespace mvm::broker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxArgv = 1024;
constexpr std::size_t kMaxArgvBytes = 128U << 10U;
constexpr std::size_t kMaxInput = 1U << 20U;
constexpr std::size_t kMaxLinks = 100'000;

Result<Lab*> find_allowed(Core& core, const soap::Caller& caller, const std::string& id) {
  auto* lab = core.labs->find(id);
  if (lab == nullptr) return Error(ErrorCode::kNotFound, "there is no lab " + id);
  MVM_TRY(allowed(caller, lab->record.user, id));
  return lab;
}

/// One lab, or all that the caller may see.
Result<std::vector<Lab*>> labs_for(Core& core, const soap::Caller& caller, const std::string& id) {
  if (!id.empty()) {
    MVM_ASSIGN(auto* const lab, find_allowed(core, caller, id));
    return std::vector<Lab*>{lab};
  }
  std::vector<Lab*> labs;
  for (const auto& [name, lab] : core.labs->all())
    if (allowed(caller, lab->record.user, name)) labs.push_back(lab.get());
  return labs;
}

std::string state_of(Core& core, const Lab& lab) {
  if (lab.record.destroying) return "destroying";
  if (lab.record.ephemeral) {
    const auto* job = core.jobs->find(lab.record.job);
    return job == nullptr ? "ending" : std::string(to_string(job->record.core.state));
  }
  if (lab.up) return "up";
  return lab.trouble.empty() ? "starting" : "starting: " + lab.trouble;
}

soap::LabView view(Core& core, const Lab& lab) {
  soap::LabView v{.id = lab.record.id,
                  .name = lab.record.name,
                  .user = lab.record.user,
                  .state = state_of(core, lab),
                  .subnet = {},
                  .created_ms = lab.record.created_ms,
                  .nodes = static_cast<std::uint32_t>(lab.plan.nodes.size()),
                  .jobs = static_cast<std::uint32_t>(lab.jobs.size()),
                  .ephemeral = lab.record.ephemeral};
  for (const auto& [host, subnet] : lab.record.subnets) v.subnet += (v.subnet.empty() ? "" : ", ") + subnet;
  return v;
}

std::string details_of(const PlanNode& node, const NodeStatus& status) {
  return node.driver + " " + node.image + " " + std::string(host::to_string(status.state));
}

/// The job whose processes are drawn with the lab: the latest that has a plan.
Job* drawn_job(Core& core, const Lab& lab) {
  Job* latest = nullptr;
  for (const auto& id : lab.jobs)
    if (auto* job = core.jobs->find(id); job != nullptr && job->plan && job->profile)
      if (latest == nullptr || job->record.number > latest->record.number) latest = job;
  return latest;
}

}  // namespace

Result<std::string> LabService::create_lab(const soap::Caller& caller, const soap::SubmitRequest& request) {
  if (!caller.lab.empty())
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  const auto read = read_submission(request);
  if (!read.profile) return topologies::to_error(read.diagnostics);
  std::uint64_t nodes = 0;
  for (const auto& machines : read.profile->machines) nodes += machines.count;
  if (nodes == 0)
    return Error(ErrorCode::kInvalid, "the file names no machines: a lab without nodes is no lab");
  if (nodes > core_.config.limits.nodes_of_lab)
    return Error(ErrorCode::kExhausted, std::to_string(nodes) + " machines, at most " +
                                            std::to_string(core_.config.limits.nodes_of_lab) + " in a lab");
  MVM_ASSIGN(auto digest, core_.blobs.put(request.profile));
  return core_.ask([&]() -> Result<std::string> {
    const auto request_key = "requests/" + caller.user + "/" + request.request;
    if (!request.request.empty())
      if (const auto known = core_.journal.get(request_key); known && core_.labs->find(*known) != nullptr)
        return *known;
    if (core_.labs->all().size() >= core_.config.limits.labs)
      return Error(ErrorCode::kExhausted,
                   "there are " + std::to_string(core_.labs->all().size()) + " labs; no more are taken now");
    const auto snapshot = core_.scheduler->snapshot("");
    // Only its machines matter: a job of it is submitted to it later.
    auto preparation = prepare(snapshot, *read.profile);
    auto reasons = preparation.reasons;
    const auto placement = reasons.empty() ? pack(preparation.problem) : std::nullopt;
    if (!placement && reasons.empty())
      reasons = explain_shortage(snapshot, *read.profile, preparation.problem);
    if (!placement) {
      std::string text;
      for (const auto& reason : reasons) text += (text.empty() ? "" : "\n") + reason;
      return Error(ErrorCode::kNoPlacement, text);
    }
    MVM_ASSIGN(auto plan, make_plan(snapshot, *read.profile, *placement));
    plan.node_of.clear();
    const auto& name = read.profile->name;
    MVM_ASSIGN(auto id, core_.labs->create(caller.user, name, digest, request.settings, read.profile,
                                           std::move(plan)));
    if (!request.request.empty() && request.request.size() <= 128) core_.journal.put(request_key, id);
    return id;
  });
}

Result<std::vector<soap::LabView>> LabService::labs(const soap::Caller& caller) {
  return core_.ask([&]() -> Result<std::vector<soap::LabView>> {
    MVM_ASSIGN(const auto mine, labs_for(core_, caller, ""));
    std::vector<soap::LabView> views;
    for (const auto* lab : mine) views.push_back(view(core_, *lab));
    return views;
  });
}

Result<soap::LabView> LabService::lab(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Result<soap::LabView> {
    MVM_ASSIGN(const auto* const found, find_allowed(core_, caller, id));
    return view(core_, *found);
  });
}

Status LabService::destroy_lab(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Status {
    MVM_ASSIGN(auto* const found, find_allowed(core_, caller, id));
    if (found->record.ephemeral) {
      core_.jobs->cancel(found->record.job, "its lab was destroyed by " + caller.user);
      return ok();
    }
    core_.labs->destroy(*found);
    return ok();
  });
}

Result<std::string> LabService::graph(const soap::Caller& caller, const std::string& id,
                                      soap::GraphFormat format) {
  return core_.ask([&]() -> Result<std::string> {
    MVM_ASSIGN(auto* const lab, find_allowed(core_, caller, id));
    topologies::Drawing drawing;
    drawing.title = "lab " + id;
    std::map<std::string, std::uint32_t> host_numbers;
    for (const auto& snapshot : core_.hosts->snapshot()) {
      if (!lab->record.subnets.contains(snapshot.info.name)) continue;
      host_numbers[snapshot.info.name] = static_cast<std::uint32_t>(drawing.hosts.size());
      drawing.hosts.push_back(
          {.label = snapshot.info.name,
           .detail = snapshot.info.architecture + ", " + std::to_string(snapshot.info.vcpus) + " vcpus"});
    }
    for (const auto& node : lab->plan.nodes) {
      if (!host_numbers.contains(node.host)) {
        host_numbers[node.host] = static_cast<std::uint32_t>(drawing.hosts.size());
        drawing.hosts.push_back({.label = node.host, .detail = core_.hosts->trouble(node.host)});
      }
      drawing.nodes.push_back({.label = node.node,
                               .detail = details_of(node, lab->status[node.node]),
                               .host = host_numbers[node.host]});
    }
    std::shared_ptr<const topologies::Profile> profile;
    if (auto* job = drawn_job(core_, *lab)) {
      profile = job->profile;
      drawing.graph = &profile->graph;
      for (const auto node : job->plan->node_of) {
        const auto index = lab->index.find(job->plan->nodes[node].node);
        drawing.node_of.push_back(index == lab->index.end() ? topologies::Drawing::kNowhere : index->second);
      }
      for (topologies::ProcessId p = 0; p < job->plan->node_of.size(); ++p)
        drawing.process_details.push_back(job->ends.contains(process_tag(profile->graph, *job->plan, p))
                                              ? "ended"
                                          : job->record.core.state == JobState::kRunning ? "running"
                                                                                         : "waiting");
      if (core_.jobs->know_layout(*job))
        drawing.link_details = link_details(profile->graph, *job->plan, *job->layout);
    }
    switch (format) {
      case soap::GraphFormat::kDot:
        return topologies::to_dot(drawing);
      case soap::GraphFormat::kSvg:
        return topologies::to_svg(drawing);
      case soap::GraphFormat::kText:
        break;
    }
    return topologies::to_text(drawing);
  });
}

Result<std::vector<soap::VmView>> LabService::vms(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Result<std::vector<soap::VmView>> {
    MVM_ASSIGN(const auto mine, labs_for(core_, caller, id));
    std::vector<soap::VmView> views;
    for (const auto* lab : mine)
      for (const auto& node : lab->plan.nodes) {
        const auto& status = lab->status.at(node.node);
        views.push_back({.lab = lab->record.id,
                         .node = node.node,
                         .host = node.host,
                         .driver = node.driver,
                         .image = node.image,
                         .state = std::string(host::to_string(status.state)),
                         .address = node.address,
                         .wsdl = status.wsdl,
                         .boot = status.boot,
                         .vcpus = node.vcpus,
                         .memory = node.memory});
      }
    return views;
  });
}

Result<std::vector<soap::LinkView>> LabService::links(const soap::Caller& caller, const std::string& id) {
  return core_.ask([&]() -> Result<std::vector<soap::LinkView>> {
    MVM_ASSIGN(const auto mine, labs_for(core_, caller, id));
    std::vector<soap::LinkView> views;
    for (auto* lab : mine)
      for (const auto& job_id : lab->jobs) {
        auto* job = core_.jobs->find(job_id);
        if (job == nullptr || !job->plan || !job->profile) continue;
        const auto& graph = job->profile->graph;
        if (!core_.jobs->know_layout(*job)) continue;
        const auto how = transports(graph, *job->layout);
        for (topologies::LinkId l = 0; l < graph.link_count() && views.size() < kMaxLinks; ++l) {
          const auto link = graph.link(l);
          const auto name = [&](std::span<const topologies::End> ends) {
            if (ends.empty()) return std::string();
            return graph.end_name(ends.front()) +
                   (ends.size() > 1 ? " and " + std::to_string(ends.size() - 1) + " more" : "");
          };
          views.push_back({.lab = lab->record.id,
                           .link = graph.link_name(l),
                           .from = name(link.producers),
                           .to = name(link.consumers),
                           .type = std::string(to_string(link.spec->queue.type)),
                           .deliver = std::string(to_string(link.spec->deliver)),
                           .when_full = std::string(to_string(link.spec->queue.when_full)),
                           .transport = how[l],
                           .codec = topologies::codecs_text(codecs_of(graph, *job->plan, l)),
                           .forced = link.spec->transport,
                           .capacity = link.spec->queue.capacity});
        }
      }
    return views;
  });
}

namespace {

/// A node to be asked for the state of its queues.
struct QueueProbe {
  host::HostAgent* agent = nullptr;
  std::string lab, job, node, attempt;
  std::shared_ptr<const topologies::Profile> profile;
  std::shared_ptr<const WiringLayout> layout;
};

/// One side of a queue.
struct QueueSide {
  std::vector<std::string> names;  ///< its processes here, and who stands for those elsewhere
  std::uint32_t slots = 1;
};

QueueSide side_of(const topologies::Graph& graph, const WiringLayout& layout, const WiredQueue& queue,
                  bool producers) {
  QueueSide side{.names = {}, .slots = producers ? queue.producers : queue.consumers};
  if (queue.link == topologies::kNoLink) {
    side.names.emplace_back(producers ? "a producer" : "a consumer");
    return side;
  }
  const auto link = graph.link(queue.link);
  const auto ends = producers ? link.producers : link.consumers;
  std::uint32_t here = 0;
  for (const auto& end : ends) {
    if (layout.domain_of[end.process] != queue.domain) continue;
    ++here;
    // A process may meet a link at several of its ports.
    auto name = graph.process_name(end.process);
    if (side.names.empty() || side.names.back() != name) side.names.push_back(std::move(name));
  }
  if (ends.empty())
    side.names.emplace_back("the outside");
  else if (here < side.slots)
    side.names.emplace_back("the proxy");
  return side;
}

/// "a", "a and b", "a, b, c and 7 more"
std::string some_of(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 3;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    const bool last = i > 0 && i + 1 == names.size();
    text += (i == 0 ? "" : last ? " and " : ", ") + names[i];
  }
  return names.size() > kShown ? text + " and " + std::to_string(names.size() - kShown) + " more" : text;
}

/// "cell[0] waits for cell[1] to take", "2 of w[0], w[1] and w[2] wait for source[0] to send"
std::string waiting_side(std::uint64_t count, const QueueSide& waiters, const QueueSide& others,
                         const std::string& what) {
  const bool some = count < waiters.slots && waiters.names.size() > 1;
  return (some ? std::to_string(count) + " of " : "") + some_of(waiters.names) +
         (count == 1 || waiters.names.size() == 1 ? " waits for " : " wait for ") + some_of(others.names) +
         what;
}

/// The number that wire.stats gives, or how many are in the list that it gives.
std::uint64_t count_of(const json& queue, const char* name) {
  const auto found = queue.find(name);
  if (found == queue.end()) return 0;
  return found->is_array() ? found->size() : fields::number(queue, name);
}

/// Who waits for whom at a queue, of the numbers that its node gives.
std::string waiting_of(const json& queue, const topologies::Graph& graph, const WiringLayout& layout,
                       const WiredQueue& wired) {
  const auto found = queue.find("waiting");
  if (found == queue.end() || !found->is_object()) return {};
  const auto full = count_of(*found, "producers");
  const auto empty = count_of(*found, "consumers");
  if (full == 0 && empty == 0) return {};
  const auto producers = side_of(graph, layout, wired, true);
  const auto consumers = side_of(graph, layout, wired, false);
  std::string text;
  if (full > 0) text = waiting_side(full, producers, consumers, " to take");
  if (empty > 0) text += (text.empty() ? "" : "; ") + waiting_side(empty, consumers, producers, " to send");
  return text;
}

void probe(const QueueProbe& target, std::set<std::string>& seen, std::vector<soap::QueueView>& views) {
  const auto reply = target.agent->call(target.lab, target.node, "wire.stats", {{"attempt", target.attempt}},
                                        {}, std::chrono::seconds(5));
  if (!reply || !reply->result.is_object()) return;
  const auto found = reply->result.find("queues");
  if (found == reply->result.end() || !found->is_array()) return;
  const auto& queues = *found;
  for (const auto& queue : queues) {
    if (!queue.is_object() || !queue.contains("id") || !queue["id"].is_string()) continue;
    const auto id = queue["id"].get<std::string>();
    // Several nodes of a host hold the same ring: it is told once.
    if (!id.starts_with("q") || !seen.insert(target.attempt + "/" + id).second) continue;
    const auto place = find_queue(*target.layout, id);
    if (!place) continue;
    const auto& wired = target.layout->queues[*place];
    const auto& graph = target.profile->graph;
    const bool leaving = wired.link == topologies::kNoLink;
    const json latency = fields::object(queue, "latency");
    soap::QueueView view{
        .lab = target.lab,
        .job = target.job,
        .link = leaving ? leaving_name(*target.layout, wired.tree) : graph.link_name(wired.link),
        .where = target.layout->domains[wired.domain].name,
        .depth = count_of(queue, "depth"),
        .capacity = leaving ? 0 : graph.link(wired.link).spec->queue.capacity,
        .bytes = count_of(queue, "bytes"),
        .enqueued = count_of(queue, "enqueued"),
        .dequeued = count_of(queue, "dequeued"),
        .dropped = count_of(queue, "dropped"),
        .waiting = waiting_of(queue, graph, *target.layout, wired),
        .bytes_enqueued = fields::number(queue, "bytes_enqueued"),
        .bytes_dequeued = fields::number(queue, "bytes_dequeued"),
        .latency_samples = fields::number(latency, "samples"),
        .latency_p50_ns = fields::number(latency, "p50_ns"),
        .latency_p99_ns = fields::number(latency, "p99_ns"),
        .drained = fields::number(queue, "drained")};
    views.push_back(std::move(view));
  }
}

}  // namespace

Result<std::vector<soap::QueueView>> LabService::queues(const soap::Caller& caller, const std::string& id) {
  auto probes = core_.ask([&]() -> Result<std::vector<QueueProbe>> {
    MVM_ASSIGN(const auto mine, labs_for(core_, caller, id));
    std::vector<QueueProbe> found;
    for (auto* lab : mine)
      for (const auto& job_id : lab->jobs) {
        auto* job = core_.jobs->find(job_id);
        if (job == nullptr || job->record.core.state != JobState::kRunning || !job->plan || !job->profile)
          continue;
        if (!core_.jobs->know_layout(*job)) continue;
        const auto shared = std::make_shared<const WiringLayout>(*job->layout);
        for (const auto& node : job->plan->nodes)
          if (auto* agent = core_.hosts->agent(node.host))
            found.push_back({.agent = agent,
                             .lab = lab->record.id,
                             .job = job_id,
                             .node = node.node,
                             .attempt = job_id + "." + std::to_string(job->record.core.attempt),
                             .profile = job->profile,
                             .layout = shared});
      }
    return found;
  });
  if (!probes) return probes.error();
  std::vector<soap::QueueView> views;
  std::set<std::string> seen;
  for (const auto& target : *probes) probe(target, seen, views);
  return views;
}

Result<LabService::Target> LabService::target(const soap::Caller& caller, const std::string& lab_id,
                                              const std::string& node) {
  return core_.ask([&]() -> Result<Target> {
    MVM_ASSIGN(auto* const lab, find_allowed(core_, caller, lab_id));
    const auto index = lab->index.find(node);
    if (index == lab->index.end())
      return Error(ErrorCode::kNotFound, "lab " + lab_id + " has no node " + node);
    const auto& host = lab->plan.nodes[index->second].host;
    auto* agent = core_.hosts->agent(host);
    if (agent == nullptr)
      return Error(ErrorCode::kUnavailable, "host " + host + " " + core_.hosts->trouble(host));
    return Target{.agent = agent, .lab = lab_id, .node = node, .host = host};
  });
}

Status LabService::suspend(const soap::Caller& caller, const std::string& lab_id, const std::string& node,
                           bool suspend) {
  MVM_ASSIGN(const auto found, target(caller, lab_id, node));
  MVM_TRY(found.agent->suspend_node(lab_id, node, suspend));
  return core_.ask([&]() -> Status {
    auto* lab = core_.labs->find(lab_id);
    if (lab == nullptr || !lab->status.contains(node)) return ok();
    lab->status[node].state = suspend ? host::NodeState::kSuspended : host::NodeState::kUp;
    core_.journal.event({.event = suspend ? "node.suspended" : "node.resumed",
                         .lab = lab_id,
                         .job = lab->record.job,
                         .node = node,
                         .detail = {},
                         .user = lab->record.user});
    return ok();
  });
}

Result<std::string> LabService::console(const soap::Caller& caller, const std::string& lab_id,
                                        const std::string& node, std::uint64_t offset,
                                        std::chrono::milliseconds wait) {
  MVM_ASSIGN(const auto found, target(caller, lab_id, node));
  const auto end = core_.clock.now() + std::min(wait, kLongestWait);
  for (;;) {
    MVM_ASSIGN(auto bytes, found.agent->console(lab_id, node, offset));
    if (!bytes.empty() || core_.clock.now() >= end) return bytes;
    // A console has no event of its own: looked at again after a moment, or when anything changes.
    const auto look_again =
        std::min(std::chrono::milliseconds(200),
                 std::chrono::duration_cast<std::chrono::milliseconds>(end - core_.clock.now()));
    const auto paused = core_.ask_until(
        look_again, []() -> std::optional<Status> { return std::nullopt; }, []() -> Status { return ok(); });
    if (!paused) return paused.error();
  }
}

Result<std::string> LabService::exec(const soap::Caller& caller, const soap::ExecRequest& request) {
  std::size_t bytes = 0;
  for (const auto& word : request.argv) bytes += word.size() + 1;
  if (request.argv.empty() || request.argv.size() > kMaxArgv || bytes > kMaxArgvBytes)
    return Error(ErrorCode::kInvalid, "a command has 1 to 1024 words and at most 128 KiB");
  if (request.input.size() > kMaxInput) return Error(ErrorCode::kInvalid, "standard input: at most 1 MiB");
  MVM_ASSIGN(const auto found, target(caller, request.lab, request.node));
  MVM_ASSIGN(const auto id, core_.ask([&]() -> Result<std::string> {
    if (const auto* lab = core_.labs->find(found.lab)) {
      const auto status = lab->status.find(found.node);
      if (status != lab->status.end() && status->second.state == host::NodeState::kLost)
        return Error(ErrorCode::kUnavailable, "node " + found.node + " is lost: " + status->second.why);
      if (status != lab->status.end() && status->second.state == host::NodeState::kSuspended)
        return Error(ErrorCode::kConflict, "node " + found.node + " is suspended; resume it first");
    }
    return core_.execs->add(caller.user, found.lab, found.node, found.host).id;
  }));
  const json args = {{"proc", "exec/" + id},
                     {"attempt", "exec-" + id},
                     {"job", ""},
                     {"role", ""},
                     {"index", 0},
                     {"count", 1},
                     {"argv", request.argv},
                     {"environment", json::object()},
                     {"tree", ""},
                     {"staged", json::array()},
                     {"limits", json::object()},
                     {"kind", "exec"}};
  const auto timeout = core_.config.call_timeout;
  auto started = found.agent->call(found.lab, found.node, "proc.start", args, {}, timeout);
  if (started)
    started = found.agent->call(found.lab, found.node, "proc.input", {{"proc", "exec/" + id}, {"eof", true}},
                                request.input, timeout);
  // A program that has ended already takes no input: that is no failure.
  if (started || started.error().code() == ErrorCode::kConflict) return id;
  const auto error = started.error();
  (void)core_.ask([&]() -> Status {
    if (auto* record = core_.execs->find(id); record != nullptr && !record->ended) {
      core_.logs->note("exec/" + id, "err", error.describe() + "\n");
      core_.execs->ended(*record, 126);
    }
    return ok();
  });
  return error;
}

Result<soap::ExecPage> LabService::exec_output(const soap::Caller& caller, const std::string& id,
                                               std::uint64_t cursor, std::chrono::milliseconds wait) {
  const auto answer = [this, caller, id, cursor]() -> Result<soap::ExecPage> {
    const auto* record = core_.execs->find(id);
    if (record == nullptr) return Error(ErrorCode::kNotFound, "there is no exec " + id);
    MVM_TRY(allowed(caller, record->user, record->lab));
    MVM_ASSIGN(auto page, core_.logs->read("exec/" + id, "", cursor));
    return soap::ExecPage{.pieces = std::move(page.pieces),
                          .cursor = page.cursor,
                          .ended = !page.more && record->ended,
                          .code = record->code};
  };
  return core_.ask_until(
      wait,
      [answer]() -> std::optional<Result<soap::ExecPage>> {
        auto page = answer();
        if (page && page->pieces.empty() && !page->ended) return std::nullopt;
        return page;
      },
      answer);
}

}  // namespace mvm::broker
