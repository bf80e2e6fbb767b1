#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "layout.h"
#include "mvm/topologies/drawing.h"
#include "scene.h"

namespace mvm::topologies {
namespace {

struct Colour {
  std::string_view fill, line;
};
constexpr std::array<Colour, 8> kColours{{{"#dbeafe", "#3b82f6"},
                                          {"#dcfce7", "#22a55a"},
                                          {"#fef3c7", "#d9930a"},
                                          {"#fce7f3", "#db4b92"},
                                          {"#ede9fe", "#8b5cf6"},
                                          {"#cffafe", "#0e9bb5"},
                                          {"#ffedd5", "#ea6c1a"},
                                          {"#e5e7eb", "#6b7280"}}};

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (static_cast<unsigned char>(c) >= 0x20 || c == '\n') {
      out += c;
    }
  }
  return out;
}

/// Where the line from the centre of `box` towards `target` leaves it.
Point border(const Rectangle& box, Point target) {
  const Point centre = box.centre();
  const double dx = target.x - centre.x;
  const double dy = target.y - centre.y;
  const double half_width = box.width / 2 + 2;
  const double half_height = box.height / 2 + 2;
  const double scale = std::min(std::abs(dx) > 1e-9 ? half_width / std::abs(dx) : 1e9,
                                std::abs(dy) > 1e-9 ? half_height / std::abs(dy) : 1e9);
  return {centre.x + dx * std::min(scale, 1.0), centre.y + dy * std::min(scale, 1.0)};
}

class SvgWriter {
 public:
  explicit SvgWriter(const Scene& scene) : scene_(scene), layout_(lay_out(scene)) {}

  std::string write() {
    head();
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (scene_.boxes[i].host || scene_.boxes[i].parent == kNone) box(i);
    }
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (!scene_.boxes[i].host && scene_.boxes[i].parent != kNone) box(i);
    }
    mark_pairs();
    for (const SceneEdge& edge : scene_.edges) edge.from == edge.to ? loop(edge) : curve(edge);
    for (std::size_t i = 0; i < scene_.items.size(); ++i) item(i);
    // Labels last, so that no line crosses them.
    out_ += labels_;
    legend();
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  void head() {
    const std::string width = number(layout_.width), height = number(layout_.height);
    out_ += "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + width + "\" height=\"" + height +
            "\" viewBox=\"0 0 " + width + " " + height +
            "\" font-family=\"Inter, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\">\n";
    out_ +=
        "<defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" "
        "markerUnits=\"userSpaceOnUse\" "
        "markerWidth=\"9\" markerHeight=\"9\" "
        "orient=\"auto-start-reverse\"><path d=\"M0,1 L9,5 L0,9 L2.5,5 z\" "
        "fill=\"#64748b\"/></marker></defs>\n";
    out_ += "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
    text(40, 38, 18, "#0f172a", scene_.title, "start", "600");
    text(40, scene_.title.empty() ? 38 : 58, 12, "#64748b", scene_.subtitle, "start");
  }

  void text(double x, double y, double size, std::string_view colour, const std::string& what,
            std::string_view anchor = "middle", std::string_view weight = "400") {
    if (what.empty()) return;
    out_ += "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" font-size=\"" + number(size) +
            "\" fill=\"" + std::string(colour) + "\" text-anchor=\"" + std::string(anchor) +
            "\" font-weight=\"" + std::string(weight) + "\">" + escaped(what) + "</text>\n";
  }

  void rectangle(const Rectangle& box, double radius, std::string_view fill, std::string_view line,
                 double width) {
    out_ += "<rect x=\"" + number(box.x) + "\" y=\"" + number(box.y) + "\" width=\"" + number(box.width) +
            "\" height=\"" + number(box.height) + "\" rx=\"" + number(radius) + "\" fill=\"" +
            std::string(fill) + "\" stroke=\"" + std::string(line) + "\" stroke-width=\"" + number(width) +
            "\"/>\n";
  }

  void box(std::size_t i) {
    const SceneBox& one = scene_.boxes[i];
    const Rectangle& place = layout_.boxes[i];
    rectangle(place, one.host ? 14 : 9, one.host ? "#f1f5f9" : "#ffffff", one.host ? "#94a3b8" : "#cbd5e1",
              1.2);
    above_lines([&] {
      text(place.x + 14, place.y + 18, one.host ? 13 : 12, "#334155", one.label, "start", "600");
      text(place.x + 14, place.y + 32, 10, "#64748b", one.detail, "start");
    });
  }

  void item(std::size_t i) {
    const SceneItem& one = scene_.items[i];
    const Rectangle& place = layout_.items[i];
    const Colour colour = kColours[one.role % kColours.size()];
    const double middle = place.x + place.width / 2;
    out_ += "<g><title>" + escaped(one.tooltip) + "</title>";
    if (one.kind == SceneItem::Kind::kQueue) {
      queue_shape(place);
      text(middle, place.y + 13, 10, "#334155", one.label, "middle", "600");
      text(middle, place.y + 24, 9, "#64748b", one.detail);
    } else {
      if (one.kind == SceneItem::Kind::kGroup && one.many) {
        for (const double shift : {6.0, 3.0}) {
          rectangle({place.x + shift, place.y + shift, place.width, place.height}, 7, colour.fill,
                    colour.line, 0.8);
        }
      }
      rectangle(place, 7, colour.fill, colour.line, 1.3);
      const bool two = !one.detail.empty();
      text(middle, place.y + place.height / 2 + (two ? -1 : 4), 12, "#0f172a", one.label, "middle", "500");
      text(middle, place.y + place.height / 2 + 12, 9, "#475569", one.detail);
    }
    out_ += "</g>\n";
  }

  /// A pipe lying on its side.
  void queue_shape(const Rectangle& p) {
    const double bend = 6;
    const std::string top = number(p.y), bottom = number(p.y + p.height);
    const std::string left = number(p.x + bend), right = number(p.x + p.width - bend);
    const std::string rx = number(bend), ry = number(p.height / 2);
    out_ += "<path d=\"M" + left + "," + top + " H" + right + " A" + rx + "," + ry + " 0 0 1 " + right + "," +
            bottom + " H" + left + " A" + rx + "," + ry + " 0 0 1 " + left + "," + top +
            " z\" fill=\"#f8fafc\" stroke=\"#64748b\" stroke-width=\"1.2\"/>\n";
    out_ += "<path d=\"M" + right + "," + top + " A" + rx + "," + ry + " 0 0 0 " + right + "," + bottom +
            "\" fill=\"none\" stroke=\"#64748b\" stroke-width=\"0.8\"/>\n";
  }

  /// Edges that have a partner the other way are bent apart.
  void mark_pairs() {
    for (const SceneEdge& edge : scene_.edges) joined_.insert({edge.from, edge.to});
  }

  std::string stroke(const SceneEdge& edge) const {
    const double width =
        edge.count > 1 ? std::min(1.2 + std::log10(static_cast<double>(edge.count)), 4.0) : 1.2;
    const double opacity = scene_.edges.size() > 600 ? 0.3 : scene_.edges.size() > 150 ? 0.55 : 0.85;
    std::string style = "fill=\"none\" stroke=\"#64748b\" stroke-width=\"" + number(width) + "\" opacity=\"" +
                        number(opacity) + "\"";
    if (edge.type == QueueType::kPriority) style += " stroke-dasharray=\"6 3\"";
    if (edge.type == QueueType::kLatest) style += " stroke-dasharray=\"2 3\"";
    return style + " marker-end=\"url(#arrow)\"";
  }

  void path(const SceneEdge& edge, const std::string& shape) {
    out_ += "<path d=\"" + shape + "\" " + stroke(edge) + "><title>" + escaped(edge.tooltip) +
            "</title></path>\n";
  }

  /// Whether the straight line between two points runs through some other item.
  bool crosses_item(Point from, Point to, const SceneEdge& edge) const {
    constexpr int kSteps = 24;
    for (std::size_t i = 0; i < layout_.items.size(); ++i) {
      if (i == edge.from || i == edge.to) continue;
      const Rectangle& box = layout_.items[i];
      for (int step = 1; step < kSteps; ++step) {
        const double t = static_cast<double>(step) / kSteps;
        const double x = from.x + (to.x - from.x) * t;
        const double y = from.y + (to.y - from.y) * t;
        if (x > box.x - 2 && x < box.x + box.width + 2 && y > box.y - 2 && y < box.y + box.height + 2)
          return true;
      }
    }
    return false;
  }

  void curve(const SceneEdge& edge) {
    const Point from = layout_.items[edge.from].centre();
    const Point to = layout_.items[edge.to].centre();
    const double length = std::max(std::hypot(to.x - from.x, to.y - from.y), 1.0);
    const int parallel = parallel_[{edge.from, edge.to}]++;
    double bend = joined_.contains({edge.to, edge.from}) ? std::min(16.0, length * 0.12) : 0;
    if (crosses_item(from, to, edge)) bend = std::max(bend, std::min(34.0 + length * 0.06, 90.0));
    bend += parallel * 22;
    // To the right of its own direction, so that a pair bends apart.
    const Point control{(from.x + to.x) / 2 - (to.y - from.y) / length * bend * 2,
                        (from.y + to.y) / 2 + (to.x - from.x) / length * bend * 2};
    const Point start = border(layout_.items[edge.from], control);
    const Point end = border(layout_.items[edge.to], control);
    path(edge, "M" + number(start.x) + "," + number(start.y) + " Q" + number(control.x) + "," +
                   number(control.y) + " " + number(end.x) + "," + number(end.y));
    label({(start.x + 2 * control.x + end.x) / 4, (start.y + 2 * control.y + end.y) / 4}, edge.label);
  }

  void loop(const SceneEdge& edge) {
    const Rectangle& box = layout_.items[edge.from];
    const int parallel = parallel_[{edge.from, edge.to}]++;
    const double middle = box.x + box.width / 2;
    const double reach = 26 + parallel * 16;
    path(edge, "M" + number(middle + 14) + "," + number(box.y - 2) + " C" + number(middle + 26) + "," +
                   number(box.y - reach) + " " + number(middle - 26) + "," + number(box.y - reach) + " " +
                   number(middle - 14) + "," + number(box.y - 2));
    label({middle, box.y - reach * 0.75 - 6}, edge.label);
  }

  void label(Point at, const std::string& what) {
    if (what.empty()) return;
    above_lines([&] { text(at.x, at.y + 3, 9.5, "#334155", what); });
  }

  /// Text that is written after all lines, with a rim that keeps them off.
  template <class Write>
  void above_lines(const Write& write) {
    std::string kept;
    kept.swap(out_);
    out_ += "<g paint-order=\"stroke\" stroke=\"#ffffff\" stroke-width=\"3\" stroke-linejoin=\"round\">";
    write();
    out_ += "</g>";
    labels_ += out_;
    out_.swap(kept);
  }

  void legend() {
    double x = 40;
    const double y = layout_.height - 28;
    for (std::size_t i = 0; i < scene_.roles.size() && x < layout_.width - 90; ++i) {
      const Colour colour = kColours[i % kColours.size()];
      rectangle({x, y - 9, 12, 12}, 3, colour.fill, colour.line, 1.2);
      text(x + 18, y + 1, 11, "#475569", scene_.roles[i], "start");
      x += 40 + static_cast<double>(scene_.roles[i].size()) * 6.8;
    }
    std::set<QueueType> types;
    for (const SceneEdge& edge : scene_.edges) types.insert(edge.type);
    for (const QueueType type : types) {
      if (type == QueueType::kFifo && types.size() == 1) break;
      if (x > layout_.width - 110) break;
      SceneEdge sample;
      sample.type = type;
      path(sample, "M" + number(x) + "," + number(y - 3) + " H" + number(x + 28));
      text(x + 34, y + 1, 11, "#475569", std::string(to_string(type)), "start");
      x += 100;
    }
  }

  const Scene& scene_;
  Layout layout_;
  std::string out_, labels_;
  std::set<std::pair<std::size_t, std::size_t>> joined_;
  std::map<std::pair<std::size_t, std::size_t>, int> parallel_;
};

}  // namespace

std::string to_svg(const Drawing& drawing) {
  const Scene scene = make_scene(drawing);
  return SvgWriter(scene).write();
}

}  // namespace mvm::topologies
