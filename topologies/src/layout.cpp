#include "layout.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

namespace mvm::topologies {
namespace {

constexpr double kMargin = 40;
constexpr double kTitle = 56;    ///< height of the heading
constexpr double kLegend = 44;   ///< height of the legend below
constexpr double kPad = 14;      ///< between a box and what stands in it
constexpr double kHeading = 24;  ///< of a box
constexpr double kGap = 26;      ///< between neighbours

double text_width(const std::string& text, double size) {
  double count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) == 0x80U ? 0 : 1;
  return count * size * 0.6;
}

Rectangle size_of(const SceneItem& item) {
  const bool queue = item.kind == SceneItem::Kind::kQueue;
  // Queues are labelled in bold.
  const double width =
      std::max(text_width(item.label, queue ? 11.5 : 12), text_width(item.detail, 9)) + (queue ? 30 : 22);
  const bool two_lines = !item.detail.empty();
  return {0, 0, std::max(width, 58.0), queue ? 30.0 : two_lines ? 38.0 : 28.0};
}

class LayoutMaker {
 public:
  explicit LayoutMaker(const Scene& scene) : scene_(scene) {
    for (const SceneItem& item : scene.items) layout_.items.push_back(size_of(item));
    layout_.boxes.resize(scene.boxes.size());
  }

  Layout make() {
    if (!scene_.boxes.empty()) {
      place_boxes();
    } else if (scene_.roles.size() > 1) {
      place_columns();
    } else {
      place_spread();
    }
    normalise();
    return std::move(layout_);
  }

 private:
  bool is_queue(std::size_t item) const { return scene_.items[item].kind == SceneItem::Kind::kQueue; }
  void centre_at(std::size_t item, double x, double y) {
    layout_.items[item].x = x - layout_.items[item].width / 2;
    layout_.items[item].y = y - layout_.items[item].height / 2;
  }

  // ---- one role: as its links suggest

  void place_spread() {
    std::vector<std::pair<std::size_t, std::size_t>> edges;
    double width = 0;
    for (const SceneEdge& edge : scene_.edges) {
      if (edge.from != edge.to) edges.emplace_back(edge.from, edge.to);
    }
    for (const Rectangle& item : layout_.items) width = std::max(width, item.width);
    const std::vector<Point> points = spread(scene_.items.size(), edges);
    const double step = width + 44;
    for (std::size_t i = 0; i < points.size(); ++i)
      centre_at(i, points[i].x * step, points[i].y * std::max(72.0, step * 0.8));
  }

  // ---- several roles: columns in the direction of flow

  /// Longest way from a role without predecessors, links that lead back left out.
  std::vector<std::size_t> role_ranks() const {
    const std::size_t roles = scene_.roles.size();
    std::vector<std::vector<std::size_t>> next(roles);
    const auto connect = [&](std::size_t from, std::size_t to) {
      if (from != to && std::find(next[from].begin(), next[from].end(), to) == next[from].end())
        next[from].push_back(to);
    };
    std::map<std::size_t, std::vector<std::size_t>> into, out_of;  // per queue
    for (const SceneEdge& edge : scene_.edges) {
      if (is_queue(edge.to)) {
        into[edge.to].push_back(scene_.items[edge.from].role);
      } else if (is_queue(edge.from)) {
        out_of[edge.from].push_back(scene_.items[edge.to].role);
      } else {
        connect(scene_.items[edge.from].role, scene_.items[edge.to].role);
      }
    }
    for (const auto& [queue, sources] : into) {
      for (const std::size_t from : sources) {
        for (const std::size_t to : out_of[queue]) connect(from, to);
      }
    }
    std::vector<std::size_t> ranks(roles, 0);
    std::vector<int> state(roles, 0);
    std::vector<std::size_t> order;
    // Depth-first from the first role; an edge to a role being visited leads back.
    const std::function<void(std::size_t)> visit = [&](std::size_t role) {
      state[role] = 1;
      auto& targets = next[role];
      targets.erase(
          std::remove_if(targets.begin(), targets.end(), [&](std::size_t to) { return state[to] == 1; }),
          targets.end());
      for (const std::size_t to : targets) {
        if (state[to] == 0) visit(to);
      }
      state[role] = 2;
      order.push_back(role);
    };
    for (std::size_t role = 0; role < roles; ++role) {
      if (state[role] == 0) visit(role);
    }
    for (auto role = order.rbegin(); role != order.rend(); ++role) {
      for (const std::size_t to : next[*role]) ranks[to] = std::max(ranks[to], ranks[*role] + 1);
    }
    return ranks;
  }

  void place_columns() {
    const std::vector<std::size_t> ranks = role_ranks();
    std::map<std::size_t, std::vector<std::size_t>> columns;
    for (std::size_t i = 0; i < scene_.items.size(); ++i) {
      if (!is_queue(i)) columns[ranks[scene_.items[i].role]].push_back(i);
    }
    double x = 0;
    double queue_width = 50;
    for (std::size_t i = 0; i < scene_.items.size(); ++i) {
      if (is_queue(i)) queue_width = std::max(queue_width, layout_.items[i].width);
    }
    for (const auto& [rank, items] : columns) {
      x += place_column(items, x) + queue_width + 150;
    }
    place_queues_between();
  }

  /// Places the processes of one rank from `x` on, around y = 0; returns the width used.
  double place_column(const std::vector<std::size_t>& items, double x) {
    constexpr std::size_t kTall = 16;
    double width = 0;
    for (const std::size_t item : items) width = std::max(width, layout_.items[item].width);
    if (const auto edges = edges_within(items); !edges.empty()) return place_block(items, edges, x, width);
    const std::size_t wide = (items.size() + kTall - 1) / kTall;
    const std::size_t tall = (items.size() + wide - 1) / wide;
    for (std::size_t k = 0; k < items.size(); ++k) {
      const std::size_t column = k / tall;
      const std::size_t in_column = std::min(tall, items.size() - column * tall);
      const double row = static_cast<double>(k % tall) - (static_cast<double>(in_column) - 1) / 2;
      centre_at(items[k], x + width / 2 + static_cast<double>(column) * (width + 26), row * 52);
    }
    return static_cast<double>(wide) * (width + 26) - 26;
  }

  /// Edges among these items, as pairs of their places in the list.
  std::vector<std::pair<std::size_t, std::size_t>> edges_within(const std::vector<std::size_t>& items) const {
    std::map<std::size_t, std::size_t> number;
    for (std::size_t k = 0; k < items.size(); ++k) number[items[k]] = k;
    std::vector<std::pair<std::size_t, std::size_t>> edges;
    for (const SceneEdge& edge : scene_.edges) {
      if (edge.from == edge.to || !number.contains(edge.from) || !number.contains(edge.to)) continue;
      edges.emplace_back(number[edge.from], number[edge.to]);
    }
    return edges;
  }

  /// Processes that are joined among themselves, as their links suggest.
  double place_block(const std::vector<std::size_t>& items,
                     const std::vector<std::pair<std::size_t, std::size_t>>& edges, double x, double width) {
    const std::vector<Point> points = spread(items.size(), edges);
    const double step = width + 44;
    double left = 0, right = 0, top = 0, bottom = 0;
    for (std::size_t k = 0; k < points.size(); ++k) {
      left = k == 0 ? points[k].x : std::min(left, points[k].x);
      right = k == 0 ? points[k].x : std::max(right, points[k].x);
      top = k == 0 ? points[k].y : std::min(top, points[k].y);
      bottom = k == 0 ? points[k].y : std::max(bottom, points[k].y);
    }
    const double height = std::max(72.0, step * 0.8);
    for (std::size_t k = 0; k < points.size(); ++k) {
      centre_at(items[k], x + width / 2 + (points[k].x - left) * step,
                (points[k].y - (top + bottom) / 2) * height);
    }
    return (right - left) * step + width + 30;
  }

  /// A queue stands between its producers and consumers; one that leads back stands below.
  void place_queues_between() {
    /// The ends of one side of a queue.
    struct Side {
      double left = 1e9, right = -1e9, y = 0, count = 0;
    };
    std::map<std::size_t, std::pair<Side, Side>> sides;  // producers, consumers
    for (const SceneEdge& edge : scene_.edges) {
      const bool in = is_queue(edge.to);
      if (!in && !is_queue(edge.from)) continue;
      const Rectangle& item = layout_.items[in ? edge.from : edge.to];
      Side& side = in ? sides[edge.to].first : sides[edge.from].second;
      side.left = std::min(side.left, item.x);
      side.right = std::max(side.right, item.x + item.width);
      side.y += item.centre().y;
      ++side.count;
    }
    std::map<long, std::vector<std::pair<double, std::size_t>>> lanes;  // by middle
    for (const auto& [queue, side] : sides) {
      const auto& [from, to] = side;
      const bool forward = from.right <= to.left;
      const bool back = to.right <= from.left;
      const double x = forward ? (from.right + to.left) / 2
                       : back  ? (to.right + from.left) / 2
                               : (from.left + from.right + to.left + to.right) / 4;
      const double y = (from.y / std::max(1.0, from.count) + to.y / std::max(1.0, to.count)) / 2;
      centre_at(queue, x, y);
      lanes[std::lround(x / 60)].emplace_back(y, queue);
    }
    for (auto& [middle, queues] : lanes) spread_lane(queues);
  }

  /// Keeps queues above each other apart, around where they would stand.
  void spread_lane(std::vector<std::pair<double, std::size_t>>& queues) {
    constexpr double kApart = 84;
    std::stable_sort(queues.begin(), queues.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    double mean = 0;
    bool close = false;
    for (std::size_t i = 0; i < queues.size(); ++i) {
      mean += queues[i].first / static_cast<double>(queues.size());
      close = close || (i > 0 && queues[i].first - queues[i - 1].first < kApart);
    }
    if (!close) return;
    for (std::size_t i = 0; i < queues.size(); ++i) {
      const double row = static_cast<double>(i) - (static_cast<double>(queues.size()) - 1) / 2;
      centre_at(queues[i].second, layout_.items[queues[i].second].centre().x, mean + row * kApart);
    }
  }

  // ---- hosts and nodes: boxes in rows, queues in a lane above

  /// Places `count` rectangles in rows of a pleasing shape, from (x, y); returns the extent.
  static Point place_rows(std::vector<Rectangle*>& cells, double x, double y, double aspect) {
    if (cells.empty()) return {0, 0};
    double area = 0, widest = 0;
    for (const Rectangle* cell : cells) {
      area += (cell->width + kGap) * (cell->height + kGap);
      widest = std::max(widest, cell->width);
    }
    const double row_width = std::max(widest, std::sqrt(area * aspect));
    double at_x = x, at_y = y, row_height = 0, right = x;
    for (Rectangle* cell : cells) {
      if (at_x > x && at_x + cell->width > x + row_width + 1) {
        at_x = x;
        at_y += row_height + kGap;
        row_height = 0;
      }
      cell->x = at_x;
      cell->y = at_y;
      at_x += cell->width + kGap;
      row_height = std::max(row_height, cell->height);
      right = std::max(right, cell->x + cell->width);
    }
    return {right - x, at_y + row_height - y};
  }

  void size_box(std::size_t number) {
    const SceneBox& box = scene_.boxes[number];
    std::vector<Rectangle*> inside;
    std::vector<std::size_t> inner_boxes;
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (scene_.boxes[i].parent != number) continue;
      size_box(i);
      inner_boxes.push_back(i);
      inside.push_back(&layout_.boxes[i]);
    }
    for (std::size_t i = 0; i < scene_.items.size(); ++i) {
      if (scene_.items[i].box == number) inside.push_back(&layout_.items[i]);
    }
    const Point extent = place_rows(inside, 0, 0, box.host ? 3.0 : 2.2);
    const double heading = kHeading + (box.detail.empty() ? 0 : 13);
    const double label = std::max(text_width(box.label, 12), text_width(box.detail, 10)) + 2 * kPad;
    layout_.boxes[number].width = std::max(extent.x + 2 * kPad, label);
    layout_.boxes[number].height = extent.y + heading + kPad + (inside.empty() ? 6 : 4);
  }

  /// Moves a box to where it was put, and what stands in it along.
  void settle_box(std::size_t number) {
    const double heading = kHeading + (scene_.boxes[number].detail.empty() ? 0 : 13) + 4;
    const double dx = layout_.boxes[number].x + kPad;
    const double dy = layout_.boxes[number].y + heading;
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (scene_.boxes[i].parent != number) continue;
      layout_.boxes[i].x += dx;
      layout_.boxes[i].y += dy;
      settle_box(i);
    }
    for (std::size_t i = 0; i < scene_.items.size(); ++i) {
      if (scene_.items[i].box != number) continue;
      layout_.items[i].x += dx;
      layout_.items[i].y += dy;
    }
  }

  void place_boxes() {
    std::vector<Rectangle*> outer;
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (scene_.boxes[i].parent != kNone) continue;
      size_box(i);
      outer.push_back(&layout_.boxes[i]);
    }
    for (std::size_t i = 0; i < scene_.items.size(); ++i) {
      if (scene_.items[i].box == kNone && !is_queue(i)) outer.push_back(&layout_.items[i]);
    }
    const Point extent = place_rows(outer, 0, 0, 2.0);
    for (std::size_t i = 0; i < scene_.boxes.size(); ++i) {
      if (scene_.boxes[i].parent == kNone) settle_box(i);
    }
    place_queue_lane(extent.x);
  }

  void place_queue_lane(double width) {
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t i = 0; i < scene_.items.size(); ++i) {
      if (!is_queue(i)) continue;
      double sum = 0, count = 0;
      for (const SceneEdge& edge : scene_.edges) {
        if (edge.from != i && edge.to != i) continue;
        sum += layout_.items[edge.from == i ? edge.to : edge.from].centre().x;
        ++count;
      }
      order.emplace_back(count > 0 ? sum / count : 0, i);
    }
    std::sort(order.begin(), order.end());
    double least = 0, lane = -70;
    for (const auto& [x, item] : order) {
      double left = std::max(least, x - layout_.items[item].width / 2);
      if (left + layout_.items[item].width > width && least > width) {
        lane -= 46;
        left = 0;
      }
      layout_.items[item].x = left;
      layout_.items[item].y = lane;
      least = left + layout_.items[item].width + 16;
    }
  }

  /// Moves everything to positive places and finds the size of the picture.
  void normalise() {
    double left = 1e9, top = 1e9, right = -1e9, bottom = -1e9;
    const auto include = [&](const std::vector<Rectangle>& all) {
      for (const Rectangle& one : all) {
        left = std::min(left, one.x);
        top = std::min(top, one.y);
        right = std::max(right, one.x + one.width);
        bottom = std::max(bottom, one.y + one.height);
      }
    };
    include(layout_.items);
    include(layout_.boxes);
    if (left > right) left = top = right = bottom = 0;
    // Loops of an item stand above it.
    top -= 26;
    if (scene_.boxes.empty() && scene_.edges.size() > 24) {
      // Room for edges that run around others.
      left -= 60;
      right += 60;
      top -= 30;
      bottom += 40;
    }
    const auto move = [&](std::vector<Rectangle>& all, double extra) {
      for (Rectangle& one : all) {
        one.x += kMargin - left + extra;
        one.y += kMargin + kTitle - top;
      }
    };
    const double needed =
        std::max(text_width(scene_.title, 18), text_width(scene_.subtitle, 12)) + 2 * kMargin;
    layout_.width = std::max({right - left + 2 * kMargin, needed, 360.0});
    const double extra = (layout_.width - (right - left + 2 * kMargin)) / 2;
    move(layout_.items, extra);
    move(layout_.boxes, extra);
    layout_.height = bottom - top + 2 * kMargin + kTitle + kLegend;
  }

  const Scene& scene_;
  Layout layout_;
};

}  // namespace

Layout lay_out(const Scene& scene) { return LayoutMaker(scene).make(); }

}  // namespace mvm::topologies
