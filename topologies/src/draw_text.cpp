#include <array>
#include <map>

#include "mvm/topologies/drawing.h"
#include "scene.h"

namespace mvm::topologies {
namespace {

constexpr std::size_t kLinkLines = 60;
constexpr std::size_t kNodeLines = 100;

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

/// "cell[0..3] sink[0]" of processes in order.
std::string ranges(const Graph& graph, const std::vector<ProcessId>& processes, std::size_t most = 6) {
  std::string text;
  std::size_t count = 0;
  for (std::size_t i = 0; i < processes.size();) {
    const std::uint32_t role = graph.role_of(processes[i]);
    std::size_t end = i + 1;
    while (end < processes.size() && processes[end] == processes[end - 1] + 1 &&
           graph.role_of(processes[end]) == role)
      ++end;
    if (count++ == most) return text + " ...";
    if (!text.empty()) text += " ";
    const std::uint32_t first = graph.index_of(processes[i]);
    text += graph.roles()[role].name + "[" + std::to_string(first);
    if (end - i > 1) text += ".." + std::to_string(first + static_cast<std::uint32_t>(end - i) - 1);
    text += "]";
    i = end;
  }
  return text;
}

class TextWriter {
 public:
  explicit TextWriter(const Drawing& drawing) : drawing_(drawing), graph_(drawing.graph) {}

  std::string write() {
    const Scene heading =
        make_scene(Drawing{drawing_.title, nullptr, drawing_.hosts, drawing_.nodes, {}, {}, {}});
    line(drawing_.title.empty() ? "topology" : drawing_.title);
    if (graph_ != nullptr) {
      line(std::to_string(graph_->process_count()) + " processes, " + std::to_string(graph_->link_count()) +
           " queues" +
           (heading.subtitle.empty()            ? ""
            : heading.subtitle.starts_with(",") ? heading.subtitle
                                                : ", " + heading.subtitle));
    } else if (!heading.subtitle.empty()) {
      line(heading.subtitle);
    }
    nodes();
    if (graph_ != nullptr && !graph_->empty()) {
      roles();
      links();
    }
    return std::move(out_);
  }

 private:
  void line(const std::string& text) { out_ += text + "\n"; }

  void nodes() {
    if (drawing_.nodes.empty() && drawing_.hosts.empty()) return;
    line("");
    std::vector<std::vector<ProcessId>> held(drawing_.nodes.size());
    for (ProcessId p = 0; p < drawing_.node_of.size(); ++p) {
      if (drawing_.node_of[p] < held.size()) held[drawing_.node_of[p]].push_back(p);
    }
    std::size_t lines = 0;
    const auto write_nodes = [&](std::uint32_t host, const std::string& indent) {
      std::size_t left = 0;
      for (const auto& node : drawing_.nodes) left += node.host == host || drawing_.hosts.empty() ? 1U : 0U;
      for (std::size_t n = 0; n < drawing_.nodes.size(); ++n) {
        const auto& node = drawing_.nodes[n];
        if (!drawing_.hosts.empty() && node.host != host) continue;
        if (lines++ >= kNodeLines) {
          line(indent + "\xE2\x94\x94\xE2\x94\x80 and " + std::to_string(left) + " more");
          return;
        }
        const bool last = --left == 0;
        std::string row = indent + (last ? "\xE2\x94\x94\xE2\x94\x80 " : "\xE2\x94\x9C\xE2\x94\x80 ") +
                          padded(node.label, 14);
        if (!node.detail.empty()) row += "  " + padded(node.detail, 24);
        if (graph_ != nullptr && !held[n].empty()) row += "  " + ranges(*graph_, held[n]);
        line(row);
      }
    };
    for (std::uint32_t h = 0; h < drawing_.hosts.size(); ++h) {
      line("host " + drawing_.hosts[h].label +
           (drawing_.hosts[h].detail.empty() ? "" : "  (" + drawing_.hosts[h].detail + ")"));
      write_nodes(h, "");
    }
    if (drawing_.hosts.empty()) write_nodes(0, "");
  }

  void roles() {
    line("");
    std::size_t width = 4;
    for (const Role& role : graph_->roles()) width = std::max(width, role.name.size());
    line(padded("ROLE", width) + "  COUNT    PORTS");
    for (const Role& role : graph_->roles()) {
      std::string ports;
      for (const Port& port : role.ports) {
        ports += (ports.empty() ? "" : "  ") + std::string(port.direction == Direction::kIn ? ">" : "") +
                 port.name + (port.array ? "[" + std::to_string(port.count) + "]" : "") +
                 (port.direction == Direction::kOut ? ">" : "");
      }
      line(padded(role.name, width) + "  " + padded(std::to_string(role.count), 7) + "  " + ports);
    }
  }

  static std::string side(const Graph& graph, std::span<const End> ends) {
    std::vector<ProcessId> processes;
    if (ends.size() == 1) return graph.end_name(ends[0]);
    for (const End end : ends) {
      if (processes.empty() || processes.back() != end.process) processes.push_back(end.process);
      if (processes.size() > 100'000) break;
    }
    return ranges(graph, processes, 3) + "." + graph.port_at(ends[0]).name;
  }

  void links() {
    line("");
    if (graph_->link_count() > kLinkLines) return link_groups();
    std::size_t name_width = 5, from_width = 4, to_width = 2;
    std::vector<std::array<std::string, 4>> rows;
    for (LinkId id = 0; id < graph_->link_count(); ++id) {
      const Link link = graph_->link(id);
      std::string about = queue_text(*link.spec);
      if (id < drawing_.link_details.size() && !drawing_.link_details[id].empty())
        about += "  " + drawing_.link_details[id];
      rows.push_back(
          {graph_->link_name(id), side(*graph_, link.producers), side(*graph_, link.consumers), about});
      name_width = std::max(name_width, rows.back()[0].size());
      from_width = std::max(from_width, rows.back()[1].size());
      to_width = std::max(to_width, rows.back()[2].size());
    }
    line(padded("QUEUE", name_width) + "  " + padded("FROM", from_width) + "     " + padded("TO", to_width) +
         "  TYPE");
    for (const auto& row : rows) {
      line(padded(row[0], name_width) + "  " + padded(row[1], from_width) + "  >  " +
           padded(row[2], to_width) + "  " + row[3]);
    }
  }

  /// Too many to list: one line for each name.
  void link_groups() {
    struct Group {
      std::uint64_t count = 0;
      LinkId first = 0;
    };
    std::map<std::string, Group> groups;
    std::vector<std::string> order;
    for (LinkId id = 0; id < graph_->link_count(); ++id) {
      const std::string name = group_of_link(graph_->link_name(id));
      Group& group = groups[name];
      if (group.count++ == 0) {
        group.first = id;
        order.push_back(name);
      }
    }
    std::size_t width = 5;
    for (const auto& name : order) width = std::max(width, name.size());
    line(padded("QUEUE", width) + "  COUNT     TYPE, AND THE FIRST ONE");
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i == kLinkLines) return line("and " + std::to_string(order.size() - i) + " more");
      const Group& group = groups[order[i]];
      const Link link = graph_->link(group.first);
      line(padded(order[i], width) + "  " + padded(std::to_string(group.count), 8) + "  " +
           queue_text(*link.spec) + "; " + side(*graph_, link.producers) + " > " +
           side(*graph_, link.consumers));
    }
  }

  const Drawing& drawing_;
  const Graph* graph_;
  std::string out_;
};

}  // namespace

std::string to_text(const Drawing& drawing) { return TextWriter(drawing).write(); }

}  // namespace mvm::topologies
