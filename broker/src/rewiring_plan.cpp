// What two wirings have to do with each other, beyond what becomes of the trees (former_wiring.cpp).

#include <algorithm>

#include "mvm/base/frame.h"
#include "mvm/base/number.h"
#include "mvm/broker/wiring_plan.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using topologies::kNoLink;

std::set<std::uint32_t> ids_of(const std::vector<WiredQueue>& queues) {
  std::set<std::uint32_t> ids;
  for (const auto& queue : queues) ids.insert(queue.id);
  return ids;
}

json ends_json(const WiringLayout& layout) {
  json list = json::array();
  for (const auto& end : layout.ends)
    list.push_back(json::array({end.process, end.slot, end.queue, end.queue_slot, end.after}));
  return list;
}

/// What carries it according to the text; in those of brokers that let nobody choose, what was picked then.
Result<Transport> transport_of(const json& text, const Carry& carry, const WiringLayout& layout) {
  if (text.size() > 6) {
    if (const auto said = transport_from(text.at(6).get<std::string>())) return *said;
    return Error(ErrorCode::kCorrupt, "a wiring in the store has a transport that there is not");
  }
  const auto& from = layout.domains[layout.queues[carry.from_queue].domain];
  const auto& to = layout.domains[layout.queues[carry.to_queue].domain];
  return from.host == to.host ? Transport::kTcp : Transport::kTls;
}

/// What a text may refer to.
struct Bounds {
  std::size_t processes = 0, links = 0, nodes = 0;
};

json parting_json(const PartingProcess& one) {
  return json::array({one.process, one.role, one.index, one.count, one.node, one.domain, one.ports});
}

/// Throws where a port lacks anything.
PartingProcess parting_from(const json& v) {
  for (const auto& port : v.at(6)) {
    (void)port.at("direction").get_ref<const std::string&>();
    for (const auto& end : port.at("ends")) {
      (void)end.at("queue").get_ref<const std::string&>();
      (void)end.at("link").get<std::uint32_t>();
    }
  }
  return {.process = v.at(0),
          .role = v.at(1),
          .index = v.at(2),
          .count = v.at(3),
          .node = v.at(4),
          .domain = v.at(5),
          .ports = v.at(6)};
}

Result<WiringLayout> read_layout(const json& v, WiringLayout layout, const Bounds& bounds) {
  layout.queues.clear();
  layout.carries.clear();
  layout.ends.clear();
  layout.first_end.clear();
  layout.outside.clear();
  for (const auto& o : v.value("outside", json::array()))
    layout.outside.push_back(
        {.link = o.at(0), .producer = o.at(1), .node = o.at(2), .queue = o.at(3), .queue_slot = o.at(4)});
  for (const auto& q : v.at("queues"))
    layout.queues.push_back({.domain = q.at(0),
                             .link = q.at(1),
                             .producers = q.at(2),
                             .consumers = q.at(3),
                             .id = q.at(4),
                             .tree = q.at(5)});
  for (const auto& c : v.at("carries"))
    layout.carries.push_back({.from_queue = c.at(0),
                              .from_slot = c.at(1),
                              .to_queue = c.at(2),
                              .to_slot = c.at(3),
                              .id = c.at(4),
                              .codecs = c.at(5).get<std::vector<std::string>>()});
  for (const auto& e : v.at("ends"))
    layout.ends.push_back({.process = e.at(0),
                           .slot = e.at(1),
                           .queue = e.at(2),
                           .queue_slot = e.at(3),
                           .after = e.at(4).get<std::vector<std::uint32_t>>()});
  for (const auto& l : v.at("leaving"))
    layout.leaving.push_back(
        {.tree = l.at(0), .link = l.at(1), .producers = l.at(2).get<std::vector<std::string>>()});
  for (const auto& one : v.value("parting", json::array())) layout.parting.push_back(parting_from(one));
  layout.next_queue = v.at("next_queue");
  layout.next_carry = v.at("next_carry");
  const bool sound =
      std::all_of(layout.queues.begin(), layout.queues.end(),
                  [&](const auto& q) {
                    return q.domain < layout.domains.size() && (q.link == kNoLink || q.link < bounds.links);
                  }) &&
      std::all_of(layout.carries.begin(), layout.carries.end(),
                  [&](const auto& c) {
                    return c.from_queue < layout.queues.size() && c.to_queue < layout.queues.size();
                  }) &&
      std::all_of(
          layout.ends.begin(), layout.ends.end(),
          [&](const auto& e) { return e.process < bounds.processes && e.queue < layout.queues.size(); }) &&
      std::all_of(layout.parting.begin(), layout.parting.end(),
                  [&](const auto& p) { return p.domain < layout.domains.size() && p.node < bounds.nodes; }) &&
      std::is_sorted(layout.ends.begin(), layout.ends.end(),
                     [](const auto& a, const auto& b) { return a.process < b.process; });
  if (!sound) return Error(ErrorCode::kCorrupt, "a wiring in the store does not fit its job");
  for (std::size_t c = 0; c < layout.carries.size(); ++c) {
    MVM_ASSIGN(layout.carries[c].transport, transport_of(v.at("carries")[c], layout.carries[c], layout));
  }
  std::size_t next = 0;
  for (std::size_t process = 0; process <= bounds.processes; ++process) {
    while (next < layout.ends.size() && layout.ends[next].process < process) ++next;
    layout.first_end.push_back(static_cast<std::uint32_t>(next));
  }
  return layout;
}

}  // namespace

WiringLayout prepared(const WiringLayout& before, const WiringLayout& next) {
  WiringLayout result = before;
  const auto there = ids_of(before.queues);
  std::map<std::uint32_t, std::uint32_t> places;
  for (std::uint32_t q = 0; q < next.queues.size(); ++q) {
    if (there.contains(next.queues[q].id)) continue;
    auto queue = next.queues[q];
    queue.coming = true;
    places[q] = static_cast<std::uint32_t>(result.queues.size());
    result.queues.push_back(queue);
  }
  for (auto carry : next.carries) {
    // A carry joins queues of one tree: both come, or both are there.
    if (!places.contains(carry.from_queue)) continue;
    carry.from_queue = places.at(carry.from_queue);
    carry.to_queue = places.at(carry.to_queue);
    result.carries.push_back(carry);
  }
  result.next_queue = next.next_queue;
  result.next_carry = next.next_carry;
  return result;
}

WiringLayout without(const WiringLayout& layout, const std::set<std::uint32_t>& trees,
                     const std::set<std::string>& parted) {
  WiringLayout result = layout;
  result.queues.clear();
  result.carries.clear();
  result.ends.clear();
  result.first_end.clear();
  result.outside.clear();
  std::vector<std::uint32_t> places(layout.queues.size(), kNoLink);
  for (std::uint32_t q = 0; q < layout.queues.size(); ++q) {
    if (trees.contains(layout.queues[q].tree)) continue;
    places[q] = static_cast<std::uint32_t>(result.queues.size());
    result.queues.push_back(layout.queues[q]);
  }
  for (auto outside : layout.outside) {
    if (places[outside.queue] == kNoLink) continue;
    outside.queue = places[outside.queue];
    result.outside.push_back(outside);
  }
  for (auto carry : layout.carries) {
    if (places[carry.from_queue] == kNoLink) continue;
    carry.from_queue = places[carry.from_queue];
    carry.to_queue = places[carry.to_queue];
    result.carries.push_back(carry);
  }
  for (std::size_t p = 0; p + 1 < layout.first_end.size(); ++p) {
    result.first_end.push_back(static_cast<std::uint32_t>(result.ends.size()));
    for (auto e = layout.first_end[p]; e < layout.first_end[p + 1]; ++e) {
      auto end = layout.ends[e];
      if (places[end.queue] == kNoLink) continue;
      end.queue = places[end.queue];
      std::erase_if(end.after, [&](auto tree) { return trees.contains(tree); });
      result.ends.push_back(std::move(end));
    }
  }
  result.first_end.push_back(static_cast<std::uint32_t>(result.ends.size()));
  std::erase_if(result.leaving, [&](const auto& entry) { return trees.contains(entry.tree); });
  std::erase_if(result.parting, [&](const auto& one) { return parted.contains(one.process); });
  for (auto& one : result.parting)
    for (auto& port : one.ports) {
      auto& ends = port.at("ends");
      json left = json::array();
      for (auto& end : ends)
        if (!trees.contains(end.at("link").get<std::uint32_t>())) left.push_back(std::move(end));
      ends = std::move(left);
    }
  return result;
}

void for_each_last_reader(
    const Plan& plan, const WiringLayout& layout,
    const std::function<void(std::uint32_t node, const std::string& queue, std::uint32_t tree)>& end) {
  // Of leaving trees only consumers are still wired, or those who leave with them.
  for (const auto& one : layout.ends) {
    const auto& queue = layout.queues[one.queue];
    if (queue.link == kNoLink) end(plan.node_of[one.process], queue_id(queue), queue.tree);
  }
  for (const auto& one : layout.parting)
    for (const auto& port : one.ports)
      if (port.at("direction") == "in")
        for (const auto& joined : port.at("ends")) end(one.node, joined.at("queue"), joined.at("link"));
}

std::string encode(const WiringLayout& layout) {
  json queues = json::array();
  for (const auto& q : layout.queues)
    queues.push_back(json::array({q.domain, q.link, q.producers, q.consumers, q.id, q.tree}));
  json carries = json::array();
  for (const auto& c : layout.carries)
    carries.push_back(json::array(
        {c.from_queue, c.from_slot, c.to_queue, c.to_slot, c.id, c.codecs, to_string(c.transport)}));
  json outside = json::array();
  for (const auto& o : layout.outside)
    outside.push_back(json::array({o.link, o.producer, o.node, o.queue, o.queue_slot}));
  json leaving = json::array();
  for (const auto& l : layout.leaving) leaving.push_back(json::array({l.tree, l.link, l.producers}));
  json parting = json::array();
  for (const auto& one : layout.parting) parting.push_back(parting_json(one));
  return json{{"queues", std::move(queues)},     {"carries", std::move(carries)},
              {"ends", ends_json(layout)},       {"leaving", std::move(leaving)},
              {"outside", std::move(outside)},   {"parting", std::move(parting)},
              {"next_queue", layout.next_queue}, {"next_carry", layout.next_carry}}
      .dump();
}

Result<WiringLayout> decode_layout(std::string_view text, const topologies::Graph& graph, const Plan& plan) {
  // The domains and who is where follow from the plan.
  MVM_ASSIGN(WiringLayout layout, lay_out(graph, plan));
  MVM_ASSIGN(const json value, parse_json(text));
  try {
    return read_layout(
        value, std::move(layout),
        {.processes = graph.process_count(), .links = graph.link_count(), .nodes = plan.nodes.size()});
  } catch (const json::exception& problem) {
    return Error(ErrorCode::kCorrupt, std::string("a wiring in the store: ") + problem.what());
  }
}

std::string leaving_name(const WiringLayout& layout, std::uint32_t tree) {
  for (const auto& entry : layout.leaving)
    if (entry.tree == tree) return entry.link + " (leaving)";
  return "(leaving)";
}

std::map<topologies::LinkId, std::vector<std::string>> longer_chains(const topologies::Graph& graph,
                                                                     const WiringLayout& layout) {
  std::map<topologies::LinkId, std::vector<std::string>> chains;
  for (const auto& carry : layout.carries) {
    const auto link = layout.queues[carry.from_queue].link;
    if (link != kNoLink && carry.codecs != graph.link(link).spec->codecs) chains[link] = carry.codecs;
  }
  return chains;
}

std::optional<std::uint32_t> find_queue(const WiringLayout& layout, const std::string& id) {
  if (!id.starts_with('q')) return std::nullopt;
  const auto number = whole_number<std::uint32_t>(std::string_view(id).substr(1));
  if (!number) return std::nullopt;
  // Ids are given in order, so the place is the number, or before it.
  if (*number < layout.queues.size() && layout.queues[*number].id == *number) return number;
  for (std::uint32_t q = 0; q < layout.queues.size(); ++q)
    if (layout.queues[q].id == *number) return q;
  return std::nullopt;
}

std::vector<std::string> describe_steps(const Wired& before, const Wired& after) {
  const auto& graph = after.graph;
  const auto& next = after.layout;
  std::vector<std::string> steps;
  std::set<std::string> going;
  for (const auto& one : next.parting) going.insert(one.process);
  for (const auto& one : before.layout.parting) going.erase(one.process);
  const auto there = ids_of(before.layout.queues);
  const auto carried = [&](const WiringLayout& layout, const Carry& carry, const std::string& link) {
    return link + " from " + layout.domains[layout.queues[carry.from_queue].domain].name + " to " +
           layout.domains[layout.queues[carry.to_queue].domain].name + " by " +
           std::string(to_string(carry.transport));
  };
  for (const auto& queue : next.queues)
    if (!there.contains(queue.id))
      steps.push_back("make a queue for " + graph.link_name(queue.link) + " in " +
                      next.domains[queue.domain].name);
  for (const auto& carry : next.carries)
    if (!there.contains(next.queues[carry.from_queue].id))
      steps.push_back("carry " + carried(next, carry, graph.link_name(next.queues[carry.from_queue].link)));
  for (topologies::ProcessId p = 0; p < graph.process_count(); ++p) {
    if (find_tag(before.graph, before.plan, process_tag(graph, after.plan, p))) continue;
    const auto& node = after.plan.nodes[after.plan.node_of[p]];
    steps.push_back("start " + graph.process_name(p) + " in node " + node.node + " on host " + node.host);
  }
  std::set<std::uint32_t> leaving;
  for (const auto& entry : next.leaving) leaving.insert(entry.tree);
  for (const auto& end : before.layout.ends) {
    const auto& queue = before.layout.queues[end.queue];
    if (going.contains(process_tag(before.graph, before.plan, end.process))) continue;
    if (queue.link != kNoLink && leaving.contains(queue.tree) &&
        before.graph.port_at({end.process, end.slot}).direction == topologies::Direction::kOut)
      steps.push_back("part " + before.graph.end_name({end.process, end.slot}) + " from " +
                      before.graph.link_name(queue.link));
  }
  for (const auto& end : next.ends) {
    const auto& queue = next.queues[end.queue];
    if (queue.link == kNoLink || there.contains(queue.id)) continue;
    steps.push_back("join " + graph.end_name({end.process, end.slot}) + " to " + graph.link_name(queue.link));
  }
  for (const auto& one : going)
    steps.push_back("let " + name_of_tag(one) + " read what is queued for it, and end");
  for (const auto& entry : next.leaving)
    if (std::none_of(before.layout.leaving.begin(), before.layout.leaving.end(),
                     [&](const auto& old) { return old.tree == entry.tree; }))
      steps.push_back("drain " + entry.link + ", then remove its queues");
  return steps;
}

}  // namespace mvm::broker
