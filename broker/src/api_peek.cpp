// What waits in the queues of a running job: looked at, or taken away.

#include <algorithm>
#include <set>

#include "api.h"
#include "hosts.h"
#include "jobs.h"
#include "json_fields.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using topologies::Graph;

constexpr std::chrono::seconds kCallTimeout{10};
constexpr std::size_t kMostQueues = 64;
constexpr std::size_t kNamed = 4;  // of what there is, in an error
constexpr std::uint32_t kMostPreview = 256 << 10;
constexpr std::size_t kMostTold = 1 << 20;  // bytes of messages in an answer, but for the last queue's

/// One queue, and the node whose kernel can look into it.
struct Sight {
  host::HostAgent* agent = nullptr;
  std::string lab, node, attempt, queue, link, where;
};

std::string_view without_index(std::string_view name) { return name.substr(0, name.find('[')); }

/// "cell[3].out[1]", "cell.out", "out": of each part either all of it or all that is called so.
bool end_matches(const Graph& graph, topologies::End end, std::string_view name) {
  const std::string full = graph.end_name(end);
  const std::size_t dot = full.find('.');
  const std::string_view process = std::string_view(full).substr(0, dot);
  const std::string_view port = std::string_view(full).substr(dot + 1);
  const std::size_t given = name.find('.');
  const std::string_view port_given = given == std::string_view::npos ? name : name.substr(given + 1);
  if (given != std::string_view::npos) {
    const std::string_view process_given = name.substr(0, given);
    if (process_given != process && process_given != without_index(process)) return false;
  }
  return port_given == port || port_given == without_index(port);
}

std::string name_of(const WiredQueue& queue, const Graph& graph, const WiringLayout& layout) {
  return queue.link == topologies::kNoLink ? leaving_name(layout, queue.tree) : graph.link_name(queue.link);
}

/// "ring" stands for "ring[0]", "ring[1]", ...
bool link_matches(std::string_view link, std::string_view name) {
  return link == name || (link.ends_with(']') && link.substr(0, link.rfind('[')) == name);
}

std::set<std::uint32_t> queues_called(const std::string& name, const Graph& graph,
                                      const WiringLayout& layout) {
  std::set<std::uint32_t> found;
  for (std::uint32_t q = 0; q < layout.queues.size(); ++q)
    if (!layout.queues[q].coming && link_matches(name_of(layout.queues[q], graph, layout), name))
      found.insert(q);
  if (!found.empty()) return found;
  for (const WiredEnd& end : layout.ends)
    if (end_matches(graph, {end.process, end.slot}, name)) found.insert(end.queue);
  return found;
}

struct Asked {
  const std::string &job, &name;
};

Error unknown(const Asked& request, const Graph& graph, const WiringLayout& layout) {
  std::set<std::string> names;
  for (const WiredQueue& queue : layout.queues) names.insert(name_of(queue, graph, layout));
  std::string text = "job " + request.job + " has no link or port " + request.name;
  if (names.empty()) return {ErrorCode::kNotFound, text + ": it has no queues"};
  text += "; its links are ";
  std::size_t count = 0;
  for (const std::string& name : names) {
    if (count == kNamed) break;
    text += (count++ > 0 ? ", " : "") + name;
  }
  if (names.size() > kNamed) text += " and " + std::to_string(names.size() - kNamed) + " more";
  return {ErrorCode::kNotFound, text + " (mvm link list); a port is named as in cell[0].out"};
}

/// The node of a process that holds an end of it, or of the clients outside.
std::optional<std::uint32_t> node_at(std::uint32_t queue, const Plan& plan, const WiringLayout& layout) {
  for (const WiredEnd& end : layout.ends)
    if (end.queue == queue) return plan.node_of[end.process];
  for (const OutsideEnd& end : layout.outside)
    if (end.queue == queue) return end.node;
  return std::nullopt;
}

/// On the loop.
Result<std::vector<Sight>> sights(Core& core, const soap::Caller& caller, const Asked& request) {
  auto* const job = core.jobs->find(request.job);
  if (job == nullptr) return Error(ErrorCode::kNotFound, "there is no job " + request.job);
  MVM_TRY(allowed(caller, job->record.user, job->record.lab));
  const auto& state = job->record.core;
  if (is_terminal(state.state) || state.state == JobState::kCollecting)
    return Error(ErrorCode::kConflict,
                 "job " + request.job +
                     " has ended, and its queues with it; what its open ports held is had by "
                     "mvm queue get");
  if (state.state != JobState::kRunning || !job->plan)
    return Error(ErrorCode::kConflict, "job " + request.job + " is " + std::string(to_string(state.state)) +
                                           ": its queues can be seen once it runs");
  MVM_ASSIGN(const auto profile, core.jobs->profile(*job));
  MVM_TRY(core.jobs->know_layout(*job));
  const WiringLayout& layout = *job->layout;
  const auto queues = queues_called(request.name, profile->graph, layout);
  if (queues.empty()) return unknown(request, profile->graph, layout);
  if (queues.size() > kMostQueues)
    return Error(ErrorCode::kInvalid, request.name + " has " + std::to_string(queues.size()) +
                                          " queues, at most " + std::to_string(kMostQueues) +
                                          " can be seen at once: name one of its links, such as " +
                                          name_of(layout.queues[*queues.begin()], profile->graph, layout));
  std::vector<Sight> found;
  for (const std::uint32_t queue : queues) {
    const auto number = node_at(queue, *job->plan, layout);
    if (!number) continue;  // nobody has an end of it any more
    const auto& node = job->plan->nodes[*number];
    auto* const agent = core.hosts->agent(node.host);
    if (agent == nullptr)
      return Error(ErrorCode::kUnavailable, "host " + node.host + " " + core.hosts->trouble(node.host));
    found.push_back({.agent = agent,
                     .lab = job->record.lab,
                     .node = node.node,
                     .attempt = request.job + "." + std::to_string(state.attempt),
                     .queue = queue_id(layout.queues[queue]),
                     .link = name_of(layout.queues[queue], profile->graph, layout),
                     .where = layout.domains[layout.queues[queue].domain].name});
  }
  return found;
}

Result<std::vector<soap::PeekedMessage>> messages_of(const host::CallReply& reply, const std::string& node) {
  std::vector<soap::PeekedMessage> messages;
  const auto items = reply.result.find("messages");
  if (items == reply.result.end() || !items->is_array()) return messages;
  std::size_t at = 0;
  for (const json& item : *items) {
    const std::uint64_t length = fields::number(item, "length");
    if (length > reply.blob.size() - at)
      return Error(ErrorCode::kCorrupt, "node " + node + " announced more bytes than it sent");
    messages.push_back({.number = fields::number(item, "n"),
                        .size = fields::number(item, "size"),
                        .data = reply.blob.substr(at, length),
                        .key = fields::number(item, "key"),
                        .priority = static_cast<std::uint32_t>(fields::number(item, "priority") & 255U),
                        .again = fields::flag(item, "again"),
                        .taken = fields::flag(item, "taken"),
                        .age_ns = fields::number(item, "age_ns")});
    at += length;
  }
  return messages;
}

Result<soap::PeekedQueue> look(const Sight& sight, const soap::PeekRequest& request) {
  MVM_ASSIGN(const auto reply, sight.agent->call(sight.lab, sight.node, "wire.peek",
                                                 {{"attempt", sight.attempt},
                                                  {"queue", sight.queue},
                                                  {"count", request.count},
                                                  {"bytes", request.bytes}},
                                                 {}, kCallTimeout));
  soap::PeekedQueue view{.link = sight.link,
                         .where = sight.where,
                         .depth = fields::number(reply.result, "depth"),
                         .bytes = fields::number(reply.result, "bytes"),
                         .steady = fields::flag(reply.result, "steady"),
                         .messages = {}};
  MVM_ASSIGN(view.messages, messages_of(reply, sight.node));
  return view;
}

Result<soap::DrainedQueue> drain_one(const Sight& sight, std::uint64_t count, std::uint32_t bytes,
                                     std::uint64_t before) {
  MVM_ASSIGN(const auto reply, sight.agent->call(sight.lab, sight.node, "wire.drain",
                                                 {{"attempt", sight.attempt},
                                                  {"queue", sight.queue},
                                                  {"count", count},
                                                  {"bytes", bytes},
                                                  {"before", before}},
                                                 {}, kCallTimeout));
  soap::DrainedQueue view{.link = sight.link,
                          .where = sight.where,
                          .mark = {.queue = sight.queue, .before = fields::number(reply.result, "before")},
                          .drained = fields::number(reply.result, "drained"),
                          .bytes = fields::number(reply.result, "bytes"),
                          .more = fields::flag(reply.result, "more"),
                          .pending = fields::flag(reply.result, "pending"),
                          .messages = {}};
  MVM_ASSIGN(view.messages, messages_of(reply, sight.node));
  return view;
}

/// Nothing of it yet: the next answer has it.
soap::DrainedQueue later(const Sight& sight, std::uint64_t before) {
  return {.link = sight.link,
          .where = sight.where,
          .mark = {.queue = sight.queue, .before = before},
          .more = true,
          .messages = {}};
}

Status check_bounds(std::uint32_t count, std::uint32_t most_count, std::uint32_t bytes, std::uint32_t most) {
  if (count == 0 || count > most_count)
    return Error(ErrorCode::kInvalid,
                 "found " + std::to_string(count) + " messages, expected 1 to " + std::to_string(most_count));
  if (bytes > most)
    return Error(ErrorCode::kInvalid, "found " + std::to_string(bytes) +
                                          " bytes of each message, expected at most " + std::to_string(most));
  return ok();
}

}  // namespace

Result<std::vector<soap::PeekedQueue>> QueueService::peek(const soap::Caller& caller,
                                                          const soap::PeekRequest& request) {
  MVM_TRY(check_bounds(request.count, soap::kMostMessages, request.bytes, kMostPreview));
  MVM_ASSIGN(const auto all, core_.ask([&] { return sights(core_, caller, {request.job, request.name}); }));
  std::vector<soap::PeekedQueue> views;
  for (const Sight& sight : all) {
    auto view = look(sight, request);
    if (!view) return std::move(view).error().wrap("looking into " + sight.link);
    views.push_back(std::move(*view));
  }
  return views;
}

Result<std::vector<soap::DrainedQueue>> QueueService::drain(const soap::Caller& caller,
                                                            const soap::DrainRequest& request) {
  MVM_TRY(check_bounds(request.count, soap::kMostDrainedAtOnce, request.bytes, soap::kMostDrainedBytes));
  if (request.marks.size() > kMostQueues)
    return Error(ErrorCode::kInvalid, "found " + std::to_string(request.marks.size()) +
                                          " queues to go on with, expected at most " +
                                          std::to_string(kMostQueues));
  MVM_ASSIGN(const auto all, core_.ask([&] { return sights(core_, caller, {request.job, request.name}); }));
  std::vector<soap::DrainedQueue> views;
  std::size_t told = 0;
  bool failed = false;
  std::uint64_t left = request.count;
  for (const Sight& sight : all) {
    const auto mark = std::find_if(request.marks.begin(), request.marks.end(),
                                   [&](const soap::DrainMark& one) { return one.queue == sight.queue; });
    if (!request.marks.empty() && mark == request.marks.end()) continue;
    const std::uint64_t before = mark == request.marks.end() ? 0 : mark->before;
    if (told > kMostTold || left == 0 || failed) {  // in the next answer
      views.push_back(later(sight, before));
      continue;
    }
    auto view = drain_one(sight, left, request.bytes, before);
    if (!view && views.empty()) return std::move(view).error().wrap("draining " + sight.link);
    if (!view) {  // what was taken from the others is told first
      failed = true;
      views.push_back(later(sight, before));
      continue;
    }
    for (const soap::PeekedMessage& message : view->messages) told += message.data.size();
    left -= std::min(left, view->drained);
    views.push_back(std::move(*view));
  }
  return views;
}

}  // namespace mvm::broker
