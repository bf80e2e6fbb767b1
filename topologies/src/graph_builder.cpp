#include "graph_builder.h"

namespace mvm::topologies {
namespace {

Error too_many(std::string_view what, std::uint64_t found, std::uint64_t limit) {
  return Error(ErrorCode::kExhausted, "the topology has " + std::to_string(found) + " or more " +
                                          std::string(what) + ", expected at most " + std::to_string(limit));
}

}  // namespace

Status GraphBuilder::add_role(Role role) {
  const std::uint64_t processes = std::uint64_t{graph_.process_count_} + role.count;
  if (processes > limits_.processes) return too_many("processes", processes, limits_.processes);
  std::uint64_t slots = 0;
  for (Port& port : role.ports) {
    port.first_slot = static_cast<Slot>(slots);
    slots += port.count;
    if (slots > limits_.ends()) return too_many("port slots", slots, limits_.ends());
  }
  role.slot_count = static_cast<std::uint32_t>(slots);
  role.first_process = graph_.process_count_;
  const std::uint64_t base =
      graph_.roles_.empty() ? 0
                            : graph_.role_first_slot_.back() +
                                  std::uint64_t{graph_.roles_.back().count} * graph_.roles_.back().slot_count;
  const std::uint64_t all_slots = base + std::uint64_t{role.count} * role.slot_count;
  if (all_slots > limits_.ends()) return too_many("port slots", all_slots, limits_.ends());
  graph_.process_count_ = static_cast<std::uint32_t>(processes);
  graph_.role_first_slot_.push_back(base);
  graph_.role_numbers_.emplace(role.name, static_cast<std::uint32_t>(graph_.roles_.size()));
  graph_.roles_.push_back(std::move(role));
  out_taken_.resize(all_slots);
  return ok();
}

void GraphBuilder::roles_done() { graph_.slot_links_first_.assign(out_taken_.size() + 1, 0); }

std::uint64_t GraphBuilder::global_slot(End end) const { return graph_.slot_base(end.process) + end.slot; }

void GraphBuilder::begin_group(const std::string& name, bool indexed, const LinkSpec& spec) {
  std::string unique = name;
  while (!group_names_.emplace(unique, 1).second) {
    unique = name + "-" + std::to_string(++group_names_[name]);
  }
  if (graph_.specs_.empty() || graph_.specs_.back() != spec) graph_.specs_.push_back(spec);
  graph_.groups_.push_back(
      {unique, graph_.link_count(), indexed, static_cast<std::uint32_t>(graph_.specs_.size() - 1)});
}

Status GraphBuilder::add_link(std::span<const End> producers, std::span<const End> consumers) {
  if (graph_.links_.size() >= limits_.links) return too_many("links", limits_.links + 1ULL, limits_.links);
  const std::uint64_t ends = graph_.ends_.size() + producers.size() + consumers.size();
  if (ends > limits_.ends()) return too_many("link ends", ends, limits_.ends());
  for (const End end : producers) {
    auto taken = out_taken_[global_slot(end)];
    if (taken) {
      return Error(ErrorCode::kConflict, "the out port " + graph_.end_name(end) +
                                             " has a link already, expected one link for each out port "
                                             "(fan-out is the link's delivery rule)");
    }
    taken = true;
  }
  graph_.links_.push_back(
      {static_cast<std::uint32_t>(graph_.ends_.size()), static_cast<std::uint32_t>(producers.size())});
  graph_.ends_.insert(graph_.ends_.end(), producers.begin(), producers.end());
  graph_.ends_.insert(graph_.ends_.end(), consumers.begin(), consumers.end());
  return ok();
}

Graph GraphBuilder::finish() {
  out_taken_ = {};
  // Counting sort of the ends by slot: sizes, then starts, then links in the order of their ids.
  std::vector<std::uint32_t>& first = graph_.slot_links_first_;
  for (const End end : graph_.ends_) ++first[global_slot(end) + 1];
  for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
  graph_.slot_links_.resize(graph_.ends_.size());
  std::vector<std::uint32_t> next(first.begin(), first.end() - 1);
  for (LinkId id = 0; id < graph_.link_count(); ++id) {
    const Link link = graph_.link(id);
    for (const End end : link.producers) graph_.slot_links_[next[global_slot(end)]++] = id;
    for (const End end : link.consumers) graph_.slot_links_[next[global_slot(end)]++] = id;
  }
  graph_.links_.shrink_to_fit();
  graph_.ends_.shrink_to_fit();
  return std::move(graph_);
}

}  // namespace mvm::topologies
