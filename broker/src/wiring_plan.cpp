#include "mvm/broker/wiring_plan.h"

#include <algorithm>
#include <optional>
#include <span>
#include <unordered_map>

#include "former_wiring.h"
#include "link_trees.h"
#include "mvm/base/digest.h"
#include "mvm/topologies/codecs.h"
#include "process_entry.h"

namespace mvm::broker {
namespace {

using topologies::End;
using topologies::Graph;
using topologies::LinkId;
using topologies::ProcessId;

/// Lays out link by link.
class Layouter {
 public:
  Layouter(const Graph& graph, const Plan& plan, FormerWiring* former = nullptr)
      : graph_(graph), plan_(plan), former_(former) {}
  [[nodiscard]] Result<WiringLayout> run();

 private:
  /// The queues of one link (or of one consumer of it) by domain.
  struct Tree {
    LinkId link = 0;
    std::uint32_t home = 0;
    std::map<std::uint32_t, std::uint32_t> feeders;  ///< domain → queue, the home's own included
    std::map<std::uint32_t, std::uint32_t> drains;
  };

  std::uint32_t domain(const std::string& name, const std::string& host, const std::string& node);
  [[nodiscard]] bool reaches_directly(LinkId link, std::span<const End> producers, std::uint32_t home) const;
  void make_domains();
  /// The domain one step nearer to the home.
  [[nodiscard]] std::uint32_t parent(std::uint32_t domain, std::uint32_t home) const;
  std::uint32_t add_queue(std::uint32_t domain, LinkId link);
  void add_path(Tree& tree, std::map<std::uint32_t, std::uint32_t>& queues, std::uint32_t domain);
  void carry(std::uint32_t from, std::uint32_t to);
  void wire(LinkId link, std::span<const End> producers, std::span<const End> consumers);
  void seat(LinkId link, const End& end, bool producer, std::uint32_t queue);
  void wire_afresh(LinkId link, std::span<const End> producers, std::span<const End> consumers);
  [[nodiscard]] bool keep_apart(const Tree& tree, std::span<const End> producers,
                                std::span<const End> consumers) const;
  [[nodiscard]] Status negotiate_new();
  [[nodiscard]] Status check() const;

  const Graph& graph_;
  const Plan& plan_;
  FormerWiring* former_;  ///< null: the first wiring
  WiringLayout out_;
  std::map<std::string, std::uint32_t> domain_by_name_;
  std::vector<std::uint32_t> host_domain_;  ///< for each domain its host's own
  std::vector<std::vector<WiredEnd>> ends_;
  std::uint32_t tree_ = 0;  ///< the one being made
  std::uint32_t first_new_carry_ = 0;
};

std::uint32_t Layouter::domain(const std::string& name, const std::string& host, const std::string& node) {
  const auto [found, fresh] =
      domain_by_name_.try_emplace(name, static_cast<std::uint32_t>(out_.domains.size()));
  if (fresh) {
    out_.domains.push_back({.name = name, .host = host, .node = node});
    host_domain_.push_back(found->second);
  }
  return found->second;
}

void Layouter::make_domains() {
  std::vector<std::uint32_t> of_node;
  for (const auto& node : plan_.nodes) {
    const auto own = domain("host:" + node.host, node.host, "");
    if (node.driver != "qemu") {
      of_node.push_back(own);
      continue;
    }
    const auto guest = domain("node:" + node.node, node.host, node.node);
    out_.domains[guest].region = node.seat != 0;
    out_.domains[own].region = out_.domains[own].region || node.seat != 0;
    host_domain_[guest] = own;
    of_node.push_back(guest);
  }
  for (const auto node : plan_.node_of) out_.domain_of.push_back(of_node[node]);
}

std::uint32_t Layouter::parent(std::uint32_t domain, std::uint32_t home) const {
  if (!out_.domains[home].node.empty()) return home;  // all its producers reach it
  return host_domain_[domain] != domain ? host_domain_[domain] : home;
}

std::uint32_t Layouter::add_queue(std::uint32_t domain, LinkId link) {
  out_.queues.push_back({.domain = domain,
                         .link = link,
                         .producers = 0,
                         .consumers = 0,
                         .id = out_.next_queue++,
                         .tree = tree_});
  return static_cast<std::uint32_t>(out_.queues.size() - 1);
}

void Layouter::add_path(Tree& tree, std::map<std::uint32_t, std::uint32_t>& queues, std::uint32_t domain) {
  while (!queues.contains(domain)) {
    queues[domain] = add_queue(domain, tree.link);
    domain = parent(domain, tree.home);
  }
}

void Layouter::carry(std::uint32_t from, std::uint32_t to) {
  out_.carries.push_back({.from_queue = from,
                          .from_slot = out_.queues[from].consumers++,
                          .to_queue = to,
                          .to_slot = out_.queues[to].producers++,
                          .id = out_.next_carry++,
                          .codecs = codecs_of(graph_, plan_, out_.queues[from].link)});
}

void Layouter::wire(LinkId link, std::span<const End> producers, std::span<const End> consumers) {
  if (former_ != nullptr && former_->keep({graph_, plan_, link, producers, consumers}, out_, ends_)) return;
  const auto made = out_.queues.size();
  wire_afresh(link, producers, consumers);
  if (former_ != nullptr) former_->follow({graph_, plan_, link, producers, consumers}, out_, made, ends_);
}

void Layouter::wire_afresh(LinkId link, std::span<const End> producers, std::span<const End> consumers) {
  tree_ = out_.next_queue;
  const auto first = out_.domain_of[consumers.front().process];
  const auto inside = [&](const End& end) { return out_.domain_of[end.process] == first; };
  const bool one_domain = std::all_of(producers.begin(), producers.end(), inside) &&
                          std::all_of(consumers.begin(), consumers.end(), inside);
  const bool in_place = one_domain || (std::all_of(consumers.begin(), consumers.end(), inside) &&
                                       reaches_directly(link, producers, first));
  Tree tree{.link = link, .home = in_place ? first : host_domain_[first], .feeders = {}, .drains = {}};
  const auto home = add_queue(tree.home, link);
  const bool apart = keep_apart(tree, producers, consumers);
  tree.feeders[tree.home] = apart ? add_queue(tree.home, link) : home;
  tree.drains[tree.home] = home;
  for (const auto& end : producers) add_path(tree, tree.feeders, out_.domain_of[end.process]);
  for (const auto& end : consumers) add_path(tree, tree.drains, out_.domain_of[end.process]);
  // Processes take the first slots, proxies those after them.
  for (const auto& end : producers) seat(link, end, true, tree.feeders[out_.domain_of[end.process]]);
  for (const auto& end : consumers) seat(link, end, false, tree.drains[out_.domain_of[end.process]]);
  for (const auto& [domain, queue] : tree.feeders)
    if (domain != tree.home || apart) {
      const auto next = domain == tree.home ? domain : parent(domain, tree.home);
      carry(queue, next == tree.home ? home : tree.feeders[next]);
    }
  for (const auto& [domain, queue] : tree.drains)
    if (domain != tree.home) carry(tree.drains[parent(domain, tree.home)], queue);
}

void Layouter::seat(LinkId link, const End& end, bool producer, std::uint32_t queue) {
  auto& slots = producer ? out_.queues[queue].producers : out_.queues[queue].consumers;
  const auto slot = slots++;
  if (end.slot == kOutside)
    out_.outside.push_back({.link = link,
                            .producer = producer,
                            .node = plan_.node_of[end.process],
                            .queue = queue,
                            .queue_slot = slot});
  else
    ends_[end.process].push_back(
        {.process = end.process, .slot = end.slot, .queue = queue, .queue_slot = slot, .after = {}});
}

/// True where the only consumers are in one guest, and each producer's domain has a way to it of its own:
/// then what comes from other guests need not pass their host.
bool Layouter::reaches_directly(LinkId link, std::span<const End> producers, std::uint32_t home) const {
  if (out_.domains[home].node.empty()) return false;
  const auto forced = transport_from(graph_.link(link).spec->transport);
  bool guests = false;
  for (const auto& end : producers) {
    const auto from = out_.domain_of[end.process];
    guests = guests || (from != home && !out_.domains[from].node.empty());
    if (!negotiate(out_.domains[from], out_.domains[home], forced)) return false;
  }
  return guests;
}

/// True where a forced transport leads out of the home's memory, but it has both producers and consumers.
bool Layouter::keep_apart(const Tree& tree, std::span<const End> producers,
                          std::span<const End> consumers) const {
  const auto forced = transport_from(graph_.link(tree.link).spec->transport);
  if (!forced || *forced == Transport::kShm) return false;
  const auto here = [&](const End& end) { return out_.domain_of[end.process] == tree.home; };
  return std::any_of(producers.begin(), producers.end(), here) &&
         std::any_of(consumers.begin(), consumers.end(), here);
}

/// What goes on, or is only drained, is carried as it was.
Status Layouter::negotiate_new() {
  constexpr std::size_t kMostReasons = 20;
  std::vector<std::string> reasons;
  for (auto& carry : out_.carries) {
    if (carry.id < first_new_carry_) continue;
    const auto link = out_.queues[carry.from_queue].link;
    const auto agreed = negotiate(out_.domains[out_.queues[carry.from_queue].domain],
                                  out_.domains[out_.queues[carry.to_queue].domain],
                                  transport_from(graph_.link(link).spec->transport));
    if (agreed) {
      carry.transport = *agreed;
      continue;
    }
    auto reason = "link " + graph_.link_name(link) + ": " + agreed.error().message();
    if (std::find(reasons.begin(), reasons.end(), reason) == reasons.end())
      reasons.push_back(std::move(reason));
    if (reasons.size() == kMostReasons) break;
  }
  std::string text;
  for (const auto& reason : reasons) text += (text.empty() ? "" : "\n") + reason;
  return reasons.empty() ? ok() : Error(ErrorCode::kNoPlacement, text);
}

Status Layouter::check() const {
  for (const auto& queue : out_.queues)
    if (queue.link != topologies::kNoLink &&
        (queue.producers > kMaxQueueEnds || queue.consumers > kMaxQueueEnds))
      return Error(ErrorCode::kInvalid, "link " + graph_.link_name(queue.link) + ": a queue with " +
                                            std::to_string(std::max(queue.producers, queue.consumers)) +
                                            " ends on one side, at most " + std::to_string(kMaxQueueEnds));
  return ok();
}

Result<WiringLayout> Layouter::run() {
  make_domains();
  ends_.resize(graph_.process_count());
  if (former_ != nullptr) former_->part(graph_, plan_, out_, ends_);
  first_new_carry_ = out_.next_carry;
  for_each_tree(graph_, [&](LinkId link, std::span<const End> producers, std::span<const End> consumers) {
    wire(link, producers, consumers);
  });
  for (auto& ends : ends_) {
    out_.first_end.push_back(static_cast<std::uint32_t>(out_.ends.size()));
    std::stable_sort(ends.begin(), ends.end(), [](const auto& a, const auto& b) { return a.slot < b.slot; });
    out_.ends.insert(out_.ends.end(), ends.begin(), ends.end());
  }
  out_.first_end.push_back(static_cast<std::uint32_t>(out_.ends.size()));
  MVM_TRY(check());
  MVM_TRY(negotiate_new());
  return std::move(out_);
}

// ---- steps

using nlohmann::json;

/// Where a guest's proxy awaits those of other guests, at its address in the lab's network; no port of a job,
/// which is not root.
constexpr std::uint16_t kGuestProxyPort = 779;
constexpr std::int64_t kMaxTtlMs = (std::int64_t{1} << 31) - 1;

json create_queue(const Graph& graph, const WiredQueue& queue) {
  const auto& spec = *graph.link(queue.link).spec;
  const bool one_to_one = queue.producers == 1 && queue.consumers == 1;
  // As queuevm has it: only a queue that needs no books of its messages may hold very many.
  const bool large = one_to_one && spec.queue.type == topologies::QueueType::kFifo &&
                     spec.queue.when_full != topologies::WhenFull::kDropOldest && !spec.queue.ttl_ms;
  json create = {{"link", queue.link},
                 {"kind", to_string(spec.queue.type)},
                 {"capacity", std::min<std::uint32_t>(spec.queue.capacity, large ? 1U << 20U : 1U << 16U)},
                 {"bytes", std::clamp<std::uint64_t>(spec.queue.bytes, 4096, 4ULL << 30U)},
                 {"when_full", to_string(spec.queue.when_full)},
                 {"deliver", to_string(spec.deliver)},
                 {"fragments", !graph.link(queue.link).open()},
                 {"producers", queue.producers},
                 {"consumers", queue.consumers}};
  if (spec.queue.timeout_ms) create["timeout_ms"] = *spec.queue.timeout_ms;
  if (spec.queue.ttl_ms) create["ttl_ms"] = std::clamp<std::int64_t>(*spec.queue.ttl_ms, 1, kMaxTtlMs);
  return create;
}

/// The key of one carried link in one attempt: the same whenever it is asked for, so that steps can be
/// repeated. Hashed twice, as HMAC does.
std::string codec_key(const WiringContext& context, std::uint64_t link) {
  const std::string inner = sha256_hex("MVM codec key 1 " + context.codec_seed + " " + context.attempt + " " +
                                       std::to_string(link));
  return sha256_hex("MVM codec key 2 " + context.codec_seed + " " + inner);
}

std::string address_of(const Plan& plan, const std::string& node) {
  const auto found = std::find_if(plan.nodes.begin(), plan.nodes.end(),
                                  [&](const PlanNode& one) { return one.node == node; });
  return found == plan.nodes.end() ? std::string() : found->address;
}

/// How a step says what carries a link, or joins two proxies.
void mark(json& entry, Transport transport) {
  if (transport == Transport::kTls) entry["tls"] = true;
  if (transport > Transport::kShm && transport != Transport::kTcp && transport != Transport::kTls)
    entry["carrier"] = to_string(transport);
}

json peer_entry(const MemoryDomain& mine, const MemoryDomain& peer, Transport transport, const Plan& plan,
                const WiringContext& context) {
  json entry = {{"name", peer.name}, {"address", ""}, {"port", 0}};
  mark(entry, transport);
  const bool tls = transport == Transport::kTls;
  const bool region = transport == Transport::kIvshmem;
  if (!mine.node.empty() && !peer.node.empty() && peer.name < mine.name) {
    entry["address"] = address_of(plan, peer.node);
    entry["port"] = kGuestProxyPort;
  }
  if (!peer.node.empty()) return entry;  // a guest dials its host, of two guests the later name dials
  const bool guest = !mine.node.empty();
  if (!guest && mine.name < peer.name) return entry;  // of two hosts the later name dials
  const auto found = context.hosts.find(peer.host);
  if (found == context.hosts.end()) return entry;
  entry["address"] = guest ? found->second.bridge : found->second.proxy_address;
  const auto plain = guest ? found->second.bridge_port : found->second.plain_port;
  entry["port"] = tls ? found->second.proxy_port : region ? found->second.region_port : plain;
  return entry;
}

/// Of these nodes those that share the host's memory.
json nodes_in(const std::set<std::uint32_t>& nodes, const Plan& plan, const std::string& host) {
  json names = json::array();
  for (const auto n : nodes)
    if (plan.nodes[n].host == host && plan.nodes[n].driver != "qemu") names.push_back(plan.nodes[n].node);
  return names;
}

/// One domain's steps while they are put together.
struct DomainSteps {
  json queues = json::array();
  json processes = json::array();
  json proxies = json::array();
  json outside = json::array();
  std::set<std::pair<std::uint32_t, Transport>> peers;
};

}  // namespace

Result<WiringLayout> lay_out(const Graph& graph, const Plan& plan) { return Layouter(graph, plan).run(); }

std::string queue_id(const WiredQueue& queue) { return "q" + std::to_string(queue.id); }

Result<WiringLayout> lay_out_again(const Graph& graph, const Plan& plan, const Wired& before) {
  FormerWiring former(before);
  return Layouter(graph, plan, &former).run();
}

std::set<std::string> hosts_with_proxy(const WiringLayout& layout) {
  std::set<std::string> hosts;
  for (const auto& carry : layout.carries)
    for (const auto queue : {carry.from_queue, carry.to_queue}) {
      const auto& domain = layout.domains[layout.queues[queue].domain];
      if (domain.node.empty()) hosts.insert(domain.host);
    }
  return hosts;
}

std::set<std::string> hosts_with_plain_links(const WiringLayout& layout) {
  std::set<std::string> hosts;
  for (const auto& carry : layout.carries) {
    const auto& from = layout.domains[layout.queues[carry.from_queue].domain].host;
    const auto& to = layout.domains[layout.queues[carry.to_queue].domain].host;
    if (carry.transport == Transport::kTcp && from != to) hosts.insert({from, to});
  }
  return hosts;
}

std::vector<MemoryDomain> guests_with_tls(const WiringLayout& layout) {
  std::set<std::uint32_t> found;
  for (const auto& carry : layout.carries)
    for (const auto queue : {carry.from_queue, carry.to_queue})
      if (carry.transport == Transport::kTls && !layout.domains[layout.queues[queue].domain].node.empty())
        found.insert(layout.queues[queue].domain);
  std::vector<MemoryDomain> guests;
  for (const auto domain : found) guests.push_back(layout.domains[domain]);
  return guests;
}

std::vector<HostWiring> make_steps(const Graph& graph, const Plan& plan, const WiringLayout& layout,
                                   const WiringContext& context, const Graph* next) {
  std::vector<DomainSteps> steps(layout.domains.size());
  for (const auto& queue : layout.queues) {
    json entry = {{"id", queue_id(queue)}};
    if (queue.link != topologies::kNoLink)
      entry["create"] = create_queue(queue.coming && next != nullptr ? *next : graph, queue);
    steps[queue.domain].queues.push_back(std::move(entry));
  }
  json parameters = json::object();
  for (const auto& param : context.params) parameters[param.name] = param.value;
  for (ProcessId p = 0; p < graph.process_count(); ++p)
    steps[layout.domain_of[p]].processes.push_back(
        process_entry({graph, plan, layout}, context, parameters, p));
  for (const auto& one : layout.parting)
    steps[one.domain].processes.push_back(parting_entry({graph, plan, layout}, context, parameters, one));
  for (const auto& end : layout.outside) {
    json entry = {{"queue", queue_id(layout.queues[end.queue])},
                  {"direction", end.producer ? "in" : "out"},
                  {"slot", end.queue_slot}};
    const auto domain = layout.queues[end.queue].domain;
    if (layout.domains[domain].node.empty()) entry["node"] = plan.nodes[end.node].node;
    steps[domain].outside.push_back(std::move(entry));
  }
  for (const auto& carry : layout.carries) {
    const auto from = layout.queues[carry.from_queue].domain;
    const auto to = layout.queues[carry.to_queue].domain;
    const auto half = [&](const char* flow, std::uint32_t peer, std::uint32_t queue, std::uint32_t slot) {
      json entry{{"link", context.link_base + carry.id},
                 {"flow", flow},
                 {"peer", layout.domains[peer].name},
                 {"queue", queue_id(layout.queues[queue])},
                 {"slot", slot}};
      mark(entry, carry.transport);
      if (!carry.codecs.empty()) entry["codecs"] = carry.codecs;
      if (topologies::needs_key(carry.codecs))
        entry["key"] = codec_key(context, context.link_base + carry.id);
      return entry;
    };
    steps[from].proxies.push_back(half("out", to, carry.from_queue, carry.from_slot));
    steps[to].proxies.push_back(half("in", from, carry.to_queue, carry.to_slot));
    if (from == to) continue;  // the host's proxy knows the way back
    steps[from].peers.emplace(to, carry.transport);
    steps[to].peers.emplace(from, carry.transport);
  }
  std::vector<HostWiring> result;
  for (std::size_t d = 0; d < steps.size(); ++d) {
    // Later wirings also tell a domain that it has nothing any more.
    if (context.generation == 1 && steps[d].processes.empty() && steps[d].queues.empty()) continue;
    const auto& domain = layout.domains[d];
    json peers = json::array();
    bool dialled = false;  // by other guests
    for (const auto& [peer, transport] : steps[d].peers) {
      const auto& other = layout.domains[peer];
      peers.push_back(peer_entry(domain, other, transport, plan, context));
      dialled = dialled || (!domain.node.empty() && !other.node.empty() && domain.name < other.name);
    }
    json text = {{"attempt", context.attempt},
                 {"generation", context.generation},
                 {"domain", domain.name},
                 {"secret", context.secret},
                 {"queues", std::move(steps[d].queues)},
                 {"processes", std::move(steps[d].processes)},
                 {"peers", std::move(peers)},
                 {"proxies", std::move(steps[d].proxies)},
                 {"outside", std::move(steps[d].outside)}};
    if (!context.also_told.empty() && domain.node.empty())
      text["nodes"] = nodes_in(context.also_told, plan, domain.host);
    if (dialled) text["listen"] = {{"address", address_of(plan, domain.node)}, {"port", kGuestProxyPort}};
    if (const auto found = context.guests.find(domain.name); found != context.guests.end())
      text["identity"] = {{"certificate", found->second.certificate},
                          {"key", found->second.key},
                          {"authority", found->second.authority}};
    result.push_back({.host = domain.host, .wiring = {.node = domain.node, .steps = std::move(text)}});
  }
  return result;
}

std::vector<HostWiring> preparing_steps(const Wired& before, const Wired& next,
                                        const WiringContext& context) {
  const auto layout = prepared(before.layout, next.layout);
  auto steps = make_steps(before.graph, before.plan, layout, context, &next.graph);
  std::set<std::string> fresh;
  for (ProcessId p = 0; p < next.graph.process_count(); ++p)
    if (!find_tag(before.graph, before.plan, process_tag(next.graph, next.plan, p)))
      fresh.insert(process_id(context.attempt, next.graph, next.plan, p));
  if (fresh.empty()) return steps;
  std::map<std::string, json*> by_domain;
  for (auto& step : steps) by_domain[step.wiring.steps.at("domain")] = &step.wiring.steps;
  for (auto& step : make_steps(next.graph, next.plan, next.layout, context))
    for (auto& process : step.wiring.steps.at("processes"))
      if (fresh.contains(process.at("proc").get_ref<const std::string&>()))
        by_domain.at(step.wiring.steps.at("domain"))->at("processes").push_back(std::move(process));
  return steps;
}

const std::vector<std::string>& codecs_of(const Graph& graph, const Plan& plan, LinkId link) {
  const auto found = plan.codecs.find(link);
  return found != plan.codecs.end() ? found->second : graph.link(link).spec->codecs;
}

std::vector<CarriedLink> carried_links(const Graph& graph, const WiringLayout& layout) {
  std::map<LinkId, CarriedLink> found;
  for (const auto& carry : layout.carries) {
    const auto& from = layout.domains[layout.queues[carry.from_queue].domain];
    const auto& to = layout.domains[layout.queues[carry.to_queue].domain];
    const auto id = layout.queues[carry.from_queue].link;
    if (id == topologies::kNoLink) continue;
    auto& link = found[id];
    link.link = id;
    link.between_hosts = link.between_hosts || from.host != to.host;
  }
  std::vector<CarriedLink> links;
  for (auto& [id, link] : found) {
    link.name = graph.link_name(id);
    link.bytes = graph.link(id).spec->queue.bytes;
    link.codecs = graph.link(id).spec->codecs;
    links.push_back(std::move(link));
  }
  return links;
}

std::vector<std::string> link_details(const Graph& graph, const Plan& plan, const WiringLayout& layout) {
  auto details = transports(graph, layout);
  for (LinkId id = 0; id < graph.link_count(); ++id) {
    const auto& codecs = codecs_of(graph, plan, id);
    const bool encoded = details[id] != "shm" && !codecs.empty();
    if (is_forced(graph, id)) details[id] += " forced";
    if (encoded) details[id] += ", " + topologies::codecs_text(codecs);
  }
  return details;
}

std::vector<std::string> transports(const Graph& graph, const WiringLayout& layout) {
  std::vector<Transport> dearest(graph.link_count(), Transport::kShm);
  for (const auto& carry : layout.carries) {
    if (layout.queues[carry.from_queue].link == topologies::kNoLink) continue;
    auto& how = dearest[layout.queues[carry.from_queue].link];
    how = std::max(how, carry.transport);
  }
  std::vector<std::string> result;
  result.reserve(dearest.size());
  for (const auto transport : dearest) result.emplace_back(to_string(transport));
  return result;
}

bool is_forced(const Graph& graph, LinkId link) {
  return transport_from(graph.link(link).spec->transport).has_value();
}

}  // namespace mvm::broker
