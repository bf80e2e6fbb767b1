// Links and processes that are gone: when what the links held is delivered, their queues go; when a process
// has ended, its wiring.

#include <algorithm>

#include "hosts.h"
#include "json_fields.h"
#include "labs.h"
#include "rewirings.h"

namespace mvm::broker {
namespace {

using host::HostAgent;
using nlohmann::json;

constexpr std::chrono::milliseconds kFirstLook{20};
constexpr std::chrono::milliseconds kLongestPause{2000};
constexpr std::chrono::seconds kAnswer{5};

/// What decides whether a queue is done with.
struct Left {
  std::uint64_t depth = 0, producers = 0, consumers = 0;
  [[nodiscard]] bool nothing() const { return (producers == 0 && depth == 0) || consumers == 0; }
};
using LeftById = std::map<std::string, Left>;

Status ask(HostAgent& agent, const std::string& lab, const std::string& node, const std::string& attempt,
           LeftById& into) {
  MVM_ASSIGN(const auto reply, agent.call(lab, node, "wire.stats", {{"attempt", attempt}}, {}, kAnswer));
  const auto queues = reply.result.find("queues");
  if (queues == reply.result.end() || !queues->is_array()) return ok();
  for (const auto& queue : *queues)
    if (queue.is_object() && queue.contains("open_producers"))
      into[fields::text(queue, "id")] = {.depth = fields::number(queue, "depth"),
                                         .producers = fields::number(queue, "open_producers"),
                                         .consumers = fields::number(queue, "open_consumers")};
  return ok();
}

/// For each leaving tree the queues from which processes read it: the end of the stream comes to them last.
std::map<std::uint32_t, std::set<std::string>> last_queues(const Plan& plan, const WiringLayout& layout) {
  std::map<std::uint32_t, std::set<std::string>> result;
  for (const auto& entry : layout.leaving) result[entry.tree];
  for_each_last_reader(plan, layout, [&](std::uint32_t, const std::string& queue, std::uint32_t tree) {
    if (const auto found = result.find(tree); found != result.end()) found->second.insert(queue);
  });
  return result;
}

}  // namespace

void Rewirings::watch_drain(Job& job, Rewiring& mine) {
  if (job.record.core.state != JobState::kRunning) return;
  if (!parted(job, mine).empty()) {
    fire(job, RewireEvent::kDrained);
    return;
  }
  if (job.layout->leaving.empty()) return;
  mine.pause = std::clamp(2 * mine.pause, kFirstLook, kLongestPause);
  core_.after(mine.pause, [this, id = job.record.id, token = mine.token] { look_at_drain(id, token); });
}

void Rewirings::look_at_drain(const std::string& id, std::uint64_t token) {
  auto* job = core_.jobs->find(id);
  const auto found = rewirings_.find(id);
  if (job == nullptr || found == rewirings_.end() || found->second.token != token) return;
  std::set<std::uint32_t> nodes;
  for_each_last_reader(*job->plan, *job->layout,
                       [&](std::uint32_t node, const std::string&, std::uint32_t) { nodes.insert(node); });
  auto known = std::make_shared<LeftById>();
  auto left = std::make_shared<std::size_t>(nodes.size());
  const auto judge = [this, id, token, known] {
    auto* again = core_.jobs->find(id);
    const auto mine = rewirings_.find(id);
    if (again == nullptr || mine == rewirings_.end() || mine->second.token != token) return;
    for (const auto& [tree, queues] : last_queues(*again->plan, *again->layout)) {
      const bool done = std::all_of(queues.begin(), queues.end(), [&](const auto& queue) {
        return known->contains(queue) && known->at(queue).nothing();
      });
      if (done) mine->second.drained.insert(tree);
    }
    if (mine->second.drained.empty())
      watch_drain(*again, mine->second);
    else
      fire(*again, RewireEvent::kDrained);
  };
  if (nodes.empty()) {
    judge();
    return;
  }
  for (const auto number : nodes) {
    const auto& node = job->plan->nodes[number];
    auto mine = std::make_shared<LeftById>();
    core_.hosts->with(
        node.host,
        [lab = job->record.lab, name = node.node, attempt = Jobs::attempt(*job), mine](HostAgent& agent) {
          return ask(agent, lab, name, attempt, *mine);
        },
        [known, mine, left, judge](const Status&) {
          known->insert(mine->begin(), mine->end());  // a node that does not answer has told nothing
          if (--*left == 0) judge();
        });
  }
}

}  // namespace mvm::broker
