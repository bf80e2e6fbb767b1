#include "scene.h"

#include <map>
#include <set>
#include <tuple>

namespace mvm::topologies {
namespace {

constexpr std::uint32_t kDrawnLinks = 2000;
constexpr std::size_t kDrawnNodes = 200;
constexpr std::size_t kDrawnQueues = 40;  ///< of those that join groups

std::string plural(std::uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : what.ends_with('s') ? "es" : "s");
}

class SceneMaker {
 public:
  explicit SceneMaker(const Drawing& drawing) : drawing_(drawing), graph_(drawing.graph) {
    few_ = graph_ == nullptr ||
           (graph_->process_count() <= kDrawnProcesses && graph_->link_count() <= kDrawnLinks);
    few_nodes_ = drawing.nodes.size() <= kDrawnNodes;
  }

  Scene make() {
    scene_.title = drawing_.title;
    add_subtitle();
    add_boxes();
    if (graph_ == nullptr) return std::move(scene_);
    for (const Role& role : graph_->roles()) scene_.roles.push_back(role.name);
    if (few_) {
      add_processes();
      add_links();
    } else {
      add_groups();
      add_bundles();
    }
    return std::move(scene_);
  }

 private:
  void add_subtitle() {
    std::string& text = scene_.subtitle;
    if (graph_ != nullptr) {
      text = plural(graph_->process_count(), "process");
      text += ", " + plural(graph_->link_count(), "queue");
    }
    if (!drawing_.nodes.empty()) text += (text.empty() ? "" : " on ") + plural(drawing_.nodes.size(), "node");
    if (!drawing_.hosts.empty()) text += ", " + plural(drawing_.hosts.size(), "host");
  }

  void add_boxes() {
    for (const auto& host : drawing_.hosts) scene_.boxes.push_back({host.label, host.detail, kNone, true});
    if (!few_nodes_) return;
    for (const auto& node : drawing_.nodes) {
      const std::size_t parent = node.host < drawing_.hosts.size() ? node.host : kNone;
      scene_.boxes.push_back({node.label, node.detail, parent, false});
    }
  }

  /// The box of a process: its node, or its host where nodes are too many.
  std::size_t box_of(ProcessId process) const {
    if (process >= drawing_.node_of.size()) return kNone;
    const std::uint32_t node = drawing_.node_of[process];
    if (node >= drawing_.nodes.size()) return kNone;
    if (few_nodes_) return drawing_.hosts.size() + node;
    const std::uint32_t host = drawing_.nodes[node].host;
    return host < drawing_.hosts.size() ? host : kNone;
  }

  void add_processes() {
    for (ProcessId p = 0; p < graph_->process_count(); ++p) {
      const std::uint32_t role = graph_->role_of(p);
      SceneItem item;
      item.label = graph_->roles()[role].count == 1 ? graph_->roles()[role].name : graph_->process_name(p);
      if (p < drawing_.process_details.size()) item.detail = drawing_.process_details[p];
      item.tooltip = graph_->process_name(p);
      item.role = role;
      item.box = box_of(p);
      scene_.items.push_back(std::move(item));
    }
  }

  void add_links() {
    for (LinkId id = 0; id < graph_->link_count(); ++id) {
      const Link link = graph_->link(id);
      const std::string name = graph_->link_name(id);
      const std::string detail = id < drawing_.link_details.size() ? drawing_.link_details[id] : "";
      const std::string about =
          name + ": " + queue_text(*link.spec) + (detail.empty() ? "" : " (" + detail + ")");
      const QueueType type = link.spec->queue.type;
      if (link.producers.size() == 1 && link.consumers.size() == 1) {
        const std::string ends =
            graph_->end_name(link.producers[0]) + " -> " + graph_->end_name(link.consumers[0]);
        scene_.edges.push_back(
            {link.producers[0].process, link.consumers[0].process, detail, about + "\n" + ends, type, 1});
        continue;
      }
      const std::size_t queue = scene_.items.size();
      std::string text(to_string(link.spec->deliver));
      scene_.items.push_back({.kind = SceneItem::Kind::kQueue,
                              .label = name,
                              .detail = detail.empty() ? text : detail,
                              .tooltip = about});
      for (const End end : link.producers)
        scene_.edges.push_back({end.process, queue, "", graph_->end_name(end), type, 1});
      for (const End end : link.consumers)
        scene_.edges.push_back({queue, end.process, "", graph_->end_name(end), type, 1});
    }
  }

  /// One item for the processes of a role in a box.
  void add_groups() {
    std::map<std::pair<std::size_t, std::size_t>, std::uint64_t> sizes;  // (box, role)
    for (ProcessId p = 0; p < graph_->process_count(); ++p) ++sizes[{box_of(p), graph_->role_of(p)}];
    for (const auto& [key, size] : sizes) {
      const std::string& role = graph_->roles()[key.second].name;
      group_[key] = scene_.items.size();
      SceneItem item;
      item.kind = SceneItem::Kind::kGroup;
      item.label = role + (size == 1 ? "" : " \xC3\x97 " + std::to_string(size));
      item.tooltip = plural(size, "process") + " of role " + role;
      item.role = key.second;
      item.many = size > 1;
      item.box = key.first;
      scene_.items.push_back(std::move(item));
    }
  }

  std::size_t group_of(ProcessId process) const {
    return group_.at({box_of(process), graph_->role_of(process)});
  }

  std::set<std::size_t> groups_of(std::span<const End> ends) const {
    std::set<std::size_t> groups;
    for (const End end : ends) groups.insert(group_of(end.process));
    return groups;
  }

  /// A queue that joins several groups stands for itself.
  void add_queue(const Link& link, const std::string& name, const std::set<std::size_t>& sources,
                 const std::set<std::size_t>& targets) {
    ++queues_drawn_;
    const std::size_t queue = scene_.items.size();
    const QueueType type = link.spec->queue.type;
    const std::string about = name + ": " + queue_text(*link.spec);
    scene_.items.push_back({.kind = SceneItem::Kind::kQueue,
                            .label = graph_->link_name(link.id),
                            .detail = std::string(to_string(link.spec->deliver)),
                            .tooltip = about});
    for (const std::size_t from : sources) scene_.edges.push_back({from, queue, "", about, type, 1});
    for (const std::size_t to : targets) scene_.edges.push_back({queue, to, "", about, type, 1});
  }

  /// One edge for all links of a name between two groups.
  void add_bundles() {
    std::map<std::tuple<std::size_t, std::size_t, std::string>, SceneEdge> bundles;
    for (LinkId id = 0; id < graph_->link_count(); ++id) {
      const Link link = graph_->link(id);
      const std::string name = group_of_link(graph_->link_name(id));
      const std::set<std::size_t> sources = groups_of(link.producers);
      const std::set<std::size_t> targets = groups_of(link.consumers);
      if (sources.size() * targets.size() > 1 && queues_drawn_ < kDrawnQueues) {
        add_queue(link, name, sources, targets);
        continue;
      }
      for (const std::size_t from : sources) {
        for (const std::size_t to : targets) {
          SceneEdge& edge = bundles[{from, to, name}];
          edge.count = edge.tooltip.empty() ? 1 : edge.count + 1;
          edge.from = from;
          edge.to = to;
          edge.type = link.spec->queue.type;
          edge.tooltip = name + ": " + queue_text(*link.spec);
        }
      }
    }
    for (auto& [key, edge] : bundles) {
      edge.label = std::get<2>(key) + (edge.count == 1 ? "" : " \xC3\x97 " + std::to_string(edge.count));
      scene_.edges.push_back(std::move(edge));
    }
  }

  const Drawing& drawing_;
  const Graph* graph_;
  bool few_ = true;
  bool few_nodes_ = true;
  std::size_t queues_drawn_ = 0;
  Scene scene_;
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> group_;
};

}  // namespace

std::string queue_text(const LinkSpec& spec) {
  std::string text = std::string(to_string(spec.queue.type)) + " of " + std::to_string(spec.queue.capacity) +
                     ", " + std::string(to_string(spec.queue.when_full));
  if (spec.deliver != Deliver::kOneOf) text += ", " + std::string(to_string(spec.deliver));
  for (const std::string& codec : spec.codecs) text += ", " + codec;
  if (!spec.transport.empty()) text += ", " + spec.transport;
  return text;
}

std::string group_of_link(const std::string& link_name) {
  const std::size_t open = link_name.rfind('[');
  return link_name.back() == ']' && open != std::string::npos ? link_name.substr(0, open) : link_name;
}

Scene make_scene(const Drawing& drawing) { return SceneMaker(drawing).make(); }

}  // namespace mvm::topologies
