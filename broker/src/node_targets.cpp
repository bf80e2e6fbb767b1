#include "node_targets.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "hosts.h"
#include "json_fields.h"
#include "labs.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kAtOnce = 32;

NodeTarget target_of(Core& core, const Lab& lab, const PlanNode& node) {
  NodeTarget target{.agent = core.hosts->agent(node.host),
                    .lab = lab.record.id,
                    .node = node.node,
                    .host = node.host,
                    .address = node.address,
                    .trouble = {}};
  if (target.agent == nullptr) target.trouble = "host " + node.host + " " + core.hosts->trouble(node.host);
  const auto status = lab.status.find(node.node);
  if (status == lab.status.end()) return target;
  if (status->second.state == host::NodeState::kLost) target.trouble = "it is lost: " + status->second.why;
  if (status->second.state == host::NodeState::kSuspended) target.trouble = "it is suspended";
  return target;
}

}  // namespace

Result<nlohmann::json> NodeTarget::ask(const std::string& op, const nlohmann::json& args,
                                       std::chrono::milliseconds timeout) const {
  if (!trouble.empty()) return Error(ErrorCode::kUnavailable, trouble);
  MVM_ASSIGN(auto reply, agent->call(lab, node, op, args, {}, timeout));
  return std::move(reply.result);
}

Status NodeTarget::load(const std::string& plugin, std::chrono::milliseconds timeout) const {
  MVM_TRY(ask("kernel.load", {{"plugins", {plugin}}, {"sharing", "everyone"}}, timeout));
  return ok();
}

void note_command(Core& core, const soap::Caller& caller, const char* event, const std::string& lab,
                  const std::string& what) {
  (void)core.ask([&]() -> Status {
    core.journal.event({.event = event,
                        .lab = lab,
                        .job = {},
                        .node = {},
                        .detail = (what + ", by " + caller.user).substr(0, fields::kLongestText),
                        .user = caller.user});
    return ok();
  });
}

Result<std::vector<NodeTarget>> node_targets(Core& core, const soap::Caller& caller, const std::string& lab,
                                             const std::vector<std::string>& nodes) {
  return core.ask([&]() -> Result<std::vector<NodeTarget>> {
    std::vector<NodeTarget> targets;
    if (lab.empty()) {
      if (!nodes.empty()) return Error(ErrorCode::kInvalid, "nodes are named within a lab");
      for (const auto& [id, one] : core.labs->all()) {
        if (!allowed(caller, one->record.user, id)) continue;
        for (const auto& node : one->plan.nodes) targets.push_back(target_of(core, *one, node));
      }
      return targets;
    }
    const auto* const found = core.labs->find(lab);
    if (found == nullptr) return Error(ErrorCode::kNotFound, "there is no lab " + lab);
    MVM_TRY(allowed(caller, found->record.user, lab));
    if (nodes.empty())
      for (const auto& node : found->plan.nodes) targets.push_back(target_of(core, *found, node));
    for (const auto& name : nodes) {
      const auto index = found->index.find(name);
      if (index == found->index.end())
        return Error(ErrorCode::kNotFound, "lab " + lab + " has no node " + name.substr(0, 80));
      if (std::none_of(targets.begin(), targets.end(), [&](const auto& one) { return one.node == name; }))
        targets.push_back(target_of(core, *found, found->plan.nodes[index->second]));
    }
    return targets;
  });
}

void for_all(std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  const auto serve = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < std::min(count, kAtOnce); ++i) threads.emplace_back(serve);
  serve();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace mvm::broker
