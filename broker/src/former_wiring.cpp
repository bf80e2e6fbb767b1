#include "former_wiring.h"

#include <algorithm>

#include "link_trees.h"
#include "process_entry.h"

namespace mvm::broker {
namespace {

using topologies::Direction;
using topologies::End;
using topologies::Graph;
using topologies::kNoLink;

/// "a[0].out@node-0 > b[0].in@node-1": what a tree joins, and where.
std::string key_of(const Graph& graph, const Plan& plan, std::span<const End> producers,
                   std::span<const End> consumers) {
  std::string key;
  const auto add = [&](const End& end) {
    const auto& node = plan.nodes[plan.node_of[end.process]].node;
    key += (end.slot == kOutside ? std::string("outside") : graph.end_name(end)) + "@" + node + " ";
  };
  for (const auto& end : producers) add(end);
  key += "> ";
  for (const auto& end : consumers) add(end);
  return key;
}

/// The same end in another graph; false where it is not there.
bool translate(const Graph& from, const Graph& to, WiredEnd& end) {
  const End old{end.process, end.slot};
  const auto process = to.find_process(from.process_name(end.process));
  if (!process) return false;
  const auto& port = from.port_at(old);
  const auto slot = to.find_slot(*process, port.name, end.slot - port.first_slot);
  if (!slot) return false;
  end.process = *process;
  end.slot = *slot;
  return true;
}

}  // namespace

FormerWiring::FormerWiring(const Wired& before) : before_(before) {
  const auto& layout = before.layout;
  for (std::uint32_t q = 0; q < layout.queues.size(); ++q) {
    auto& tree = trees_[layout.queues[q].tree];
    tree.link = layout.queues[q].link;
    tree.queues.push_back(q);
  }
  for (std::uint32_t c = 0; c < layout.carries.size(); ++c)
    trees_[layout.queues[layout.carries[c].from_queue].tree].carries.push_back(c);
  for (std::uint32_t e = 0; e < layout.ends.size(); ++e) {
    const auto& end = layout.ends[e];
    auto& tree = trees_[layout.queues[end.queue].tree];
    tree.ends.push_back(e);
    const End place{end.process, end.slot};
    if (tree.link == kNoLink) continue;
    (before.graph.port_at(place).direction == Direction::kOut ? tree.producers : tree.consumers)
        .push_back(place);
  }
  for (auto& [id, tree] : trees_)
    if (tree.link != kNoLink) {
      // In the link's own order: processes are numbered in it, slots of one process too.
      const auto link = before.graph.link(tree.link);
      const auto in_order = [](std::span<const End> all, std::vector<End>& some) {
        std::vector<End> sorted;
        for (const auto& end : all)
          if (std::find(some.begin(), some.end(), end) != some.end()) sorted.push_back(end);
        some = std::move(sorted);
      };
      in_order(link.producers, tree.producers);
      in_order(link.consumers, tree.consumers);
      if (link.open()) {
        auto& mine = link.producers.empty() ? tree.producers : tree.consumers;
        const auto& others = link.producers.empty() ? tree.consumers : tree.producers;
        mine = {{others.front().process, kOutside}};
      }
      by_key_[key_of(before.graph, before.plan, tree.producers, tree.consumers)] = id;
    }
}

FormerWiring::Tree* FormerWiring::find(const Wanted& wanted) {
  const auto found = by_key_.find(key_of(wanted.graph, wanted.plan, wanted.producers, wanted.consumers));
  if (found == by_key_.end()) return nullptr;
  auto& tree = trees_.at(found->second);
  const bool same = *before_.graph.link(tree.link).spec == *wanted.graph.link(wanted.link).spec;
  return same ? &tree : nullptr;
}

void FormerWiring::copy(const Tree& tree, topologies::LinkId link, const Graph& graph, WiringLayout& out,
                        Ends& ends) const {
  const auto& old = before_.layout;
  std::map<std::uint32_t, std::uint32_t> moved;
  for (const auto q : tree.queues) {
    auto queue = old.queues[q];
    const auto domain = std::find_if(out.domains.begin(), out.domains.end(), [&](const auto& one) {
      return one.name == old.domains[queue.domain].name;
    });
    queue.domain = static_cast<std::uint32_t>(domain - out.domains.begin());
    queue.link = link;
    moved[q] = static_cast<std::uint32_t>(out.queues.size());
    out.queues.push_back(queue);
  }
  for (const auto c : tree.carries) {
    auto carry = old.carries[c];
    carry.from_queue = moved.at(carry.from_queue);
    carry.to_queue = moved.at(carry.to_queue);
    out.carries.push_back(carry);
  }
  for (auto outside : old.outside) {
    if (link == kNoLink || !moved.contains(outside.queue)) continue;
    outside.link = link;
    outside.queue = moved.at(outside.queue);
    out.outside.push_back(outside);
  }
  for (const auto e : tree.ends) {
    auto end = old.ends[e];
    const bool producer = before_.graph.port_at({end.process, end.slot}).direction == Direction::kOut;
    if ((link == kNoLink && producer) || !translate(before_.graph, graph, end)) continue;
    end.queue = moved.at(end.queue);
    ends[end.process].push_back(std::move(end));
  }
}

void FormerWiring::part(const Graph& graph, const Plan& plan, WiringLayout& out, Ends& ends) {
  out.next_queue = before_.layout.next_queue;
  out.next_carry = before_.layout.next_carry;
  for_each_tree(graph,
                [&](topologies::LinkId link, std::span<const End> producers, std::span<const End> consumers) {
                  if (auto* tree = find({graph, plan, link, producers, consumers})) tree->stays = true;
                });
  out.parting = before_.layout.parting;
  for (topologies::ProcessId p = 0; p < before_.graph.process_count(); ++p)
    if (!find_tag(graph, plan, process_tag(before_.graph, before_.plan, p)))
      out.parting.push_back(make_parting(before_, p));
  out.leaving = before_.layout.leaving;
  for (const auto& [id, tree] : trees_) {
    if (tree.stays) continue;
    if (tree.link != kNoLink) {
      LeavingTree entry{.tree = id, .link = before_.graph.link_name(tree.link), .producers = {}};
      for (const auto& end : tree.producers)
        if (end.slot != kOutside) entry.producers.push_back(before_.graph.end_name(end));
      out.leaving.push_back(std::move(entry));
    }
    copy(tree, kNoLink, graph, out, ends);
  }
  for (const auto& entry : out.leaving)
    leaving_from_[entry.tree] = {entry.producers.begin(), entry.producers.end()};
  for (const auto& mine : ends)
    for (const auto& end : mine)
      leaving_to_[graph.end_name({end.process, end.slot})].insert(out.queues[end.queue].tree);
}

bool FormerWiring::keep(const Wanted& wanted, WiringLayout& out, Ends& ends) {
  auto* tree = find(wanted);
  if (tree == nullptr) return false;
  copy(*tree, wanted.link, wanted.graph, out, ends);
  return true;
}

void FormerWiring::follow(const Wanted& wanted, const WiringLayout& out, std::size_t first,
                          Ends& ends) const {
  for (const auto& consumer : wanted.consumers) {
    if (consumer.slot == kOutside) continue;
    const auto drains = leaving_to_.find(wanted.graph.end_name(consumer));
    if (drains == leaving_to_.end()) continue;
    std::vector<std::uint32_t> after;
    for (const auto tree : drains->second)
      if (std::any_of(wanted.producers.begin(), wanted.producers.end(), [&](const End& producer) {
            return producer.slot != kOutside &&
                   leaving_from_.at(tree).contains(wanted.graph.end_name(producer));
          }))
        after.push_back(tree);
    for (auto& end : ends[consumer.process])
      if (end.slot == consumer.slot && end.queue >= first && out.queues[end.queue].link != kNoLink)
        end.after = after;
  }
}

}  // namespace mvm::broker
