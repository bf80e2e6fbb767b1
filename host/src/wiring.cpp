// Carries out the wiring of one memory domain: the host's own, or a guest's.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <set>

#include "agent_state.h"
#include "lab_region.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/osvm/vm_spec.h"
#include "mvm/queuevm/queue.h"
#include "names.h"

namespace mvm::host {
namespace {

using nlohmann::json;
using queuevm::Queue;

constexpr std::chrono::seconds kWireTimeout{60};
constexpr std::size_t kDescriptorsPerFrame = 60;
constexpr const char* kOutside = "outside";  // in a process's place: whom the kernel's own ends are for

Result<queuevm::QueueSpec> spec_from(const json& create) {
  queuevm::QueueSpec spec;
  const auto kind = queuevm::queue_kind_from(create.at("kind").get<std::string>());
  const auto rule = queuevm::when_full_from(create.at("when_full").get<std::string>());
  const auto deliver = queuevm::deliver_from(create.at("deliver").get<std::string>());
  if (!kind || !rule || !deliver) return Error(ErrorCode::kInvalid, "unknown queue kind, rule or delivery");
  spec.kind = *kind;
  spec.when_full = *rule;
  spec.deliver = *deliver;
  spec.capacity = create.at("capacity");
  spec.bytes = create.at("bytes");
  if (create.contains("timeout_ms") && create.at("timeout_ms").is_number())
    spec.timeout = std::chrono::milliseconds(create.at("timeout_ms").get<std::int64_t>());
  if (create.contains("ttl_ms") && create.at("ttl_ms").is_number())
    spec.ttl = std::chrono::milliseconds(create.at("ttl_ms").get<std::int64_t>());
  spec.producers = create.at("producers");
  spec.consumers = create.at("consumers");
  spec.fragments = create.value("fragments", true);
  spec.id = create.value("link", std::uint64_t{0});
  return spec;
}

/// Where the rings of one attempt stand. A queue's id may hold any text, so its file is named by digest.
class Rings {
 public:
  Rings(const std::filesystem::path& lab_folder, const std::string& attempt)
      : folder_(lab_folder / sha256_hex(attempt).substr(0, 16)) {}

  /// Makes those that are not there. Their owner is root inside the containers, so that their kernels can
  /// open them again for a process.
  Status make(const json& queues) {
    MVM_TRY(make_folders(folder_, 0711));
    for (const json& queue : queues) {
      const std::string id = queue.at("id");
      if (!queue.contains("create")) continue;
      MVM_ASSIGN(const queuevm::QueueSpec spec, spec_from(queue.at("create")));
      auto made = Queue::create(path(id), spec);
      if (!made && made.error().code() != ErrorCode::kExists)
        return std::move(made).error().wrap("queue " + id);
      if (made && ::geteuid() == 0 &&
          ::chown(path(id).c_str(), osvm::kFirstGuestId, osvm::kFirstGuestId) != 0)
        return Error::from_errno(errno, "handing queue " + id + " to the containers");
    }
    return ok();
  }

  /// Removes all but these.
  Status keep_only(const json& queues) {
    std::set<std::string> names;
    for (const json& queue : queues) names.insert(path(queue.at("id")).filename());
    std::error_code problem;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, problem))
      if (!names.contains(entry.path().filename())) MVM_TRY(remove_tree(entry.path()));
    return ok();
  }

  /// A descriptor for exactly one process.
  [[nodiscard]] Result<UniqueFd> open(const std::string& id) const {
    MVM_ASSIGN(const Queue queue, Queue::open(path(id)));
    return queue.open_descriptor();
  }

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  [[nodiscard]] std::filesystem::path path(const std::string& id) const {
    return folder_ / sha256_hex(id).substr(0, 16);
  }
  std::filesystem::path folder_;
};

/// The queue of each end of a process: one that it holds several ends of comes several times.
std::vector<std::string> queues_of(const json& process) {
  std::vector<std::string> ids;
  for (const json& port : process.at("ports"))
    for (const json& end : port.at("ends")) ids.push_back(end.at("queue").get<std::string>());
  return ids;
}

/// The ends that this node's kernel holds for clients outside the lab.
json outside_of(const json& steps, const std::string& node) {
  json mine = json::array();
  for (const json& end : steps.value("outside", json::array()))
    if (end.value("node", "") == node) mine.push_back(end);
  return mine;
}

/// Gives `proc` (or, where empty, the kernel) its descriptors, as many in a frame as fit.
Status hand_over(channel::HostEnd& channel, const Rings& rings, const std::string& attempt,
                 const std::string& proc, const std::vector<std::string>& ids) {
  for (std::size_t first = 0; first < ids.size(); first += kDescriptorsPerFrame) {
    json part = json::array();
    std::vector<UniqueFd> descriptors;
    std::vector<int> numbers;
    for (std::size_t i = first; i < std::min(ids.size(), first + kDescriptorsPerFrame); ++i) {
      MVM_ASSIGN(UniqueFd descriptor, rings.open(ids[i]));
      numbers.push_back(descriptor.get());
      descriptors.push_back(std::move(descriptor));
      part.push_back(ids[i]);
    }
    MVM_TRY(channel.call("wire.queues",
                         {{"attempt", attempt}, {"proc", proc}, {"first", first}, {"ids", part}},
                         kWireTimeout, {}, numbers));
  }
  return ok();
}

/// Which queues of the attempt the node's kernel holds.
std::set<std::string> held_by(channel::HostEnd& channel, const std::string& attempt) {
  std::set<std::string> ids;
  const auto reply = channel.call("wire.stats", {{"attempt", attempt}}, kWireTimeout);
  if (!reply) return ids;
  for (const json& queue : reply->result.value("queues", json::array())) ids.insert(queue.at("id"));
  return ids;
}

Status carry(LabChildClient& child, const Rings& rings, const std::string& attempt, const json& peers,
             const json& proxies) {
  for (std::size_t first = 0; first < proxies.size(); first += kDescriptorsPerFrame) {
    json links = json::array();
    std::vector<UniqueFd> owned;
    std::vector<int> descriptors;
    for (std::size_t i = first; i < std::min(proxies.size(), first + kDescriptorsPerFrame); ++i) {
      MVM_ASSIGN(UniqueFd descriptor, rings.open(proxies[i].at("queue")));
      descriptors.push_back(descriptor.get());
      owned.push_back(std::move(descriptor));
      links.push_back(proxies[i]);
    }
    MVM_TRY(
        child.call("proxy.carry", {{"attempt", attempt}, {"peers", peers}, {"links", links}}, descriptors));
  }
  return ok();
}

/// From now on the lab's child carries these links of the attempt, and no others.
template <class OpenChild>
Status carry_links(Lab& lab, const Rings& rings, const std::string& attempt, const json& steps,
                   OpenChild open_child) {
  const json proxies = steps.value("proxies", json::array());
  if (!proxies.empty()) MVM_TRY(open_child());
  std::shared_ptr<LabChildClient> child;
  {
    const std::lock_guard lock(lab.mutex);
    child = lab.child;
  }
  if (!child && proxies.empty()) return ok();
  if (!child)
    return Error(ErrorCode::kConflict,
                 "lab " + lab.spec.lab + " was made without a proxy, but a link needs one");
  if (!proxies.empty()) MVM_TRY(carry(*child, rings, attempt, steps.value("peers", json::array()), proxies));
  if (steps.at("generation") == 1 || !child->alive()) return ok();
  MVM_TRY(child->call("proxy.drop", {{"attempt", attempt}, {"keep", proxies}}));
  return ok();
}

}  // namespace

Status LocalHostAgent::State::add_parts(Lab& lab, const std::string& node, json& steps) const {
  const auto peers = steps.find("peers");
  if (peers == steps.end()) return ok();
  const std::string host = "host:" + config.name;
  const std::lock_guard lock(lab.mutex);
  const auto seat_of = [&](const std::string& domain) -> Result<std::uint32_t> {
    if (domain == host) return std::uint32_t{0};
    const auto found = lab.nodes.find(domain.starts_with("node:") ? domain.substr(5) : "");
    if (found != lab.nodes.end() && found->second->spec.seat > 0) return found->second->spec.seat;
    return Error(ErrorCode::kInvalid, domain + " has no place in the shared memory of lab " + lab.spec.lab);
  };
  for (json& peer : *peers) {
    if (peer.value("carrier", "") != "ivshmem") continue;
    MVM_ASSIGN(const std::uint32_t own, seat_of(node.empty() ? host : "node:" + node));
    MVM_ASSIGN(const std::uint32_t other, seat_of(peer.at("name")));
    MVM_ASSIGN(const queuevm::RegionPart part, part_of(lab.spec.seats, own, other));
    peer["part"] = {{"offset", part.offset}, {"bytes", part.bytes}};
  }
  return ok();
}

Status LocalHostAgent::State::wire_guest(const std::string& lab, const std::string& attempt,
                                         const DomainWiring& wiring) {
  MVM_ASSIGN(const std::shared_ptr<channel::HostEnd> channel, channel_of(lab, wiring.node));
  json steps = wiring.steps;
  steps["attempt"] = attempt;
  MVM_ASSIGN(const std::shared_ptr<Lab> owner, find_lab(lab));
  steps["secret"] = owner->spec.secret;
  MVM_TRY(add_parts(*owner, wiring.node, steps));
  MVM_TRY(channel->call("wire.apply", steps, kWireTimeout));
  return ok();
}

Status LocalHostAgent::State::wire_host(Lab& lab, const std::string& attempt, const json& steps) {
  MVM_TRY(make_folders(config.shared_memory, 0711));
  MVM_TRY(make_folders(ring_folder(lab), 0711));
  Rings rings(ring_folder(lab), attempt);
  MVM_TRY(rings.make(steps.at("queues")));

  std::map<std::string, json> by_node;
  for (const json& process : steps.at("processes"))
    by_node.try_emplace(process.at("node").get<std::string>(), json::array())
        .first->second.push_back(process);
  // Nodes that have no process (any more) are told that.
  for (const json& node : steps.value("nodes", json::array()))
    by_node.try_emplace(node.get<std::string>(), json::array());
  const bool first = steps.at("generation") == 1;
  for (const auto& [node, processes] : by_node) {
    MVM_ASSIGN(const std::shared_ptr<channel::HostEnd> channel, channel_of(lab.spec.lab, node));
    std::set<std::string> all;
    for (const json& process : processes) {
      const std::vector<std::string> ids = queues_of(process);
      all.insert(ids.begin(), ids.end());
      // A running process asks its kernel, which opens the queue for it.
      if (first) MVM_TRY(hand_over(*channel, rings, attempt, process.at("proc"), ids));
    }
    const std::set<std::string> held = first ? std::set<std::string>() : held_by(*channel, attempt);
    std::vector<std::string> missing;
    std::set_difference(all.begin(), all.end(), held.begin(), held.end(), std::back_inserter(missing));
    MVM_TRY(hand_over(*channel, rings, attempt, "", missing));
    const json outside = outside_of(steps, node);
    std::vector<std::string> open;
    for (const json& end : outside) open.push_back(end.at("queue"));
    if (first) MVM_TRY(hand_over(*channel, rings, attempt, kOutside, open));
    json queues = json::array();
    for (const std::string& id : all) queues.push_back({{"id", id}});
    const json apply = {{"attempt", attempt},
                        {"generation", steps.at("generation")},
                        {"hold", steps.value("hold", false)},
                        {"domain", steps.value("domain", "")},
                        {"secret", ""},
                        {"queues", queues},
                        {"processes", processes},
                        {"peers", json::array()},
                        {"proxies", json::array()},
                        {"outside", outside}};
    MVM_TRY(channel->call("wire.apply", apply, kWireTimeout));
  }

  MVM_TRY(carry_links(lab, rings, attempt, steps, [&] { return open_child(lab); }));
  return first ? ok() : rings.keep_only(steps.at("queues"));
}

Status LocalHostAgent::wire(const std::string& lab, const std::string& attempt, const DomainWiring& wiring) {
  MVM_ASSIGN(const std::shared_ptr<Lab> owner, state_->find_lab(lab));
  const std::lock_guard work(owner->work);
  state_->introduce_all(*owner);
  try {
    if (!wiring.node.empty()) return state_->wire_guest(lab, attempt, wiring);
    // A call that was held up somewhere must not undo a later one.
    const std::uint64_t generation = wiring.steps.at("generation");
    auto& latest = owner->wired[attempt];
    if (generation < latest) return ok();
    latest = generation;
    json steps = wiring.steps;
    MVM_TRY(state_->add_parts(*owner, "", steps));
    return state_->wire_host(*owner, attempt, steps);
  } catch (const json::exception& problem) {
    return Error(ErrorCode::kInvalid, std::string("wiring: ") + problem.what());
  }
}

Status LocalHostAgent::unwire(const std::string& lab, const std::string& attempt) {
  auto owner = state_->find_lab(lab);
  if (!owner) return ok();
  const std::lock_guard work((*owner)->work);
  std::shared_ptr<LabChildClient> child;
  {
    const std::lock_guard lock((*owner)->mutex);
    child = (*owner)->child;
  }
  if (child && child->alive()) MVM_TRY(child->call("proxy.drop", {{"attempt", attempt}}));
  (*owner)->wired.erase(attempt);
  return remove_tree(Rings(state_->ring_folder(**owner), attempt).folder());
}

}  // namespace mvm::host
