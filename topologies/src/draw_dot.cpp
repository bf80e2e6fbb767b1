#include <array>

#include "mvm/topologies/drawing.h"
#include "scene.h"

namespace mvm::topologies {
namespace {

constexpr std::array<std::string_view, 8> kFills = {"#dbeafe", "#dcfce7", "#fef3c7", "#fce7f3",
                                                    "#ede9fe", "#cffafe", "#ffedd5", "#e5e7eb"};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

class DotWriter {
 public:
  explicit DotWriter(const Scene& scene) : scene_(scene) {}

  std::string write() {
    line("digraph mvm {");
    line("  label=" + quoted(scene_.title.empty() ? scene_.subtitle : scene_.title + "\n" + scene_.subtitle) +
         "; labelloc=t;");
    line("  rankdir=LR; fontname=\"sans-serif\"; bgcolor=white;");
    line("  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontsize=11];");
    line("  edge [fontname=\"sans-serif\", fontsize=9, color=\"#64748b\", arrowsize=0.7];");
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (scene_.boxes[i].parent == kNone) box(i, "  ");
    }
    items(kNone, "  ");
    for (const SceneEdge& edge : scene_.edges) write_edge(edge);
    line("}");
    return std::move(out_);
  }

 private:
  void line(const std::string& text) { out_ += text + "\n"; }

  void box(std::size_t number, const std::string& indent) {
    const SceneBox& box_of = scene_.boxes[number];
    line(indent + "subgraph cluster_" + std::to_string(number) + " {");
    const std::string label = box_of.detail.empty() ? box_of.label : box_of.label + "\n" + box_of.detail;
    line(indent + "  label=" + quoted(label) +
         "; style=rounded; color=" + (box_of.host ? "\"#94a3b8\"" : "\"#cbd5e1\"") +
         "; bgcolor=" + (box_of.host ? "\"#f1f5f9\"" : "white") + ";");
    bool empty = true;
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (scene_.boxes[i].parent != number) continue;
      box(i, indent + "  ");
      empty = false;
    }
    // A cluster without anything in it would not be drawn.
    if (!items(number, indent + "  ") && empty) {
      line(indent + "  empty_" + std::to_string(number) +
           " [style=invis, label=\"\", width=0.6, height=0.2];");
    }
    line(indent + "}");
  }

  bool items(std::size_t box_number, const std::string& indent) {
    bool any = false;
    for (std::size_t i = 0; i < scene_.items.size(); ++i) {
      const SceneItem& item = scene_.items[i];
      if (item.box != box_number) continue;
      any = true;
      const bool queue = item.kind == SceneItem::Kind::kQueue;
      const std::string label = item.detail.empty() ? item.label : item.label + "\n" + item.detail;
      line(indent + "i" + std::to_string(i) + " [label=" + quoted(label) +
           ", tooltip=" + quoted(item.tooltip) +
           (queue ? ", shape=cds, style=filled, fillcolor=\"#f8fafc\""
                  : ", fillcolor=\"" + std::string(kFills[item.role % kFills.size()]) + "\"") +
           "];");
    }
    return any;
  }

  void write_edge(const SceneEdge& edge) {
    std::string attributes = "tooltip=" + quoted(edge.tooltip);
    if (!edge.label.empty()) attributes += ", label=" + quoted(edge.label);
    if (edge.type == QueueType::kPriority) attributes += ", style=dashed";
    if (edge.type == QueueType::kLatest) attributes += ", style=dotted";
    line("  i" + std::to_string(edge.from) + " -> i" + std::to_string(edge.to) + " [" + attributes + "];");
  }

  const Scene& scene_;
  std::string out_;
};

}  // namespace

std::string to_dot(const Drawing& drawing) {
  const Scene scene = make_scene(drawing);
  return DotWriter(scene).write();
}

}  // namespace mvm::topologies
