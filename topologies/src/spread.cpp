// Stress majorisation (as in Gansner, Koren, North 2004) from several starts; the best is kept and turned
// upright.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <queue>

#include "layout.h"

namespace mvm::topologies {
namespace {

using Edge = std::pair<std::size_t, std::size_t>;
using Distances = std::vector<std::vector<double>>;

/// Hops between all points; unconnected ones are a little further apart than the farthest connected.
Distances hop_distances(std::size_t n, const std::vector<Edge>& edges) {
  std::vector<std::vector<std::size_t>> neighbours(n);
  for (const auto& [a, b] : edges) {
    neighbours[a].push_back(b);
    neighbours[b].push_back(a);
  }
  Distances distances(n, std::vector<double>(n, -1));
  double farthest = 1;
  for (std::size_t start = 0; start < n; ++start) {
    std::queue<std::size_t> open;
    open.push(start);
    distances[start][start] = 0;
    while (!open.empty()) {
      const std::size_t at = open.front();
      open.pop();
      farthest = std::max(farthest, distances[start][at]);
      for (const std::size_t next : neighbours[at]) {
        if (distances[start][next] >= 0) continue;
        distances[start][next] = distances[start][at] + 1;
        open.push(next);
      }
    }
  }
  for (auto& row : distances) {
    for (double& distance : row) distance = distance < 0 ? farthest + 1 : distance;
  }
  return distances;
}

double stress(const std::vector<Point>& points, const Distances& distances) {
  double sum = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    for (std::size_t j = i + 1; j < points.size(); ++j) {
      const double gap = std::hypot(points[i].x - points[j].x, points[i].y - points[j].y) - distances[i][j];
      sum += gap * gap / (distances[i][j] * distances[i][j]);
    }
  }
  return sum;
}

void relax(std::vector<Point>& points, const Distances& distances, int rounds) {
  const std::size_t n = points.size();
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < n; ++i) {
      double weight = 0, x = 0, y = 0;
      for (std::size_t j = 0; j < n; ++j) {
        if (i == j) continue;
        const double w = 1 / (distances[i][j] * distances[i][j]);
        const double dx = points[i].x - points[j].x;
        const double dy = points[i].y - points[j].y;
        const double length = std::max(std::hypot(dx, dy), 1e-6);
        x += w * (points[j].x + distances[i][j] * dx / length);
        y += w * (points[j].y + distances[i][j] * dy / length);
        weight += w;
      }
      points[i] = {x / weight, y / weight};
    }
  }
}

std::vector<Point> circle(std::size_t n) {
  std::vector<Point> points;
  const double radius = static_cast<double>(n) / (2 * std::numbers::pi);
  for (std::size_t i = 0; i < n; ++i) {
    const double angle =
        2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(n) - std::numbers::pi / 2;
    points.push_back({radius * std::cos(angle), radius * std::sin(angle)});
  }
  return points;
}

/// Rows of `columns`, a little bent so that no two distances vanish.
std::vector<Point> grid(std::size_t n, std::size_t columns) {
  std::vector<Point> points;
  for (std::size_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(i % columns);
    const std::size_t row = i / columns;
    const double y = static_cast<double>(row);
    points.push_back({x + 0.013 * y + 0.002 * x * y, y + 0.007 * x});
  }
  return points;
}

/// Whether most points are one hop apart.
bool nearly_complete(const Distances& distances) {
  std::size_t near = 0, pairs = 0;
  for (std::size_t i = 0; i < distances.size(); ++i) {
    for (std::size_t j = i + 1; j < distances.size(); ++j, ++pairs) near += distances[i][j] <= 1 ? 1U : 0U;
  }
  return pairs >= 6 && near * 3 >= pairs * 2 + 3;
}

/// Whether items at these points would cover each other.
bool crowded(const std::vector<Point>& points) {
  for (std::size_t i = 0; i < points.size(); ++i) {
    for (std::size_t j = i + 1; j < points.size(); ++j) {
      if (std::abs(points[i].x - points[j].x) < 0.75 && std::abs(points[i].y - points[j].y) < 0.55)
        return true;
    }
  }
  return false;
}

/// The plain grid, in the order of the numbers, whose edges are shortest.
std::vector<Point> best_grid(std::size_t n, const std::vector<Edge>& edges) {
  std::vector<Point> best;
  double least = std::numeric_limits<double>::max();
  for (std::size_t width = 2; width < n; ++width) {
    const std::size_t height = (n + width - 1) / width;
    if (width > 3 * height + 1 || height > 3 * width + 1) continue;
    const std::vector<Point> points = grid(n, width);
    double length = n % width == 0 ? 0 : 1;
    for (const auto& [a, b] : edges)
      length += std::hypot(points[a].x - points[b].x, points[a].y - points[b].y);
    if (length >= least) continue;
    least = length;
    best = points;
  }
  return best.empty() ? grid(n, n) : best;
}

/// Turns the picture so that edges lie along the axes, and point 0 is up and left.
void straighten(std::vector<Point>& points, const std::vector<Edge>& edges) {
  const auto crookedness = [&](double angle) {
    double sum = 0;
    for (const auto& [a, b] : edges) {
      const double dx = points[a].x - points[b].x;
      const double dy = points[a].y - points[b].y;
      const double x = std::abs(dx * std::cos(angle) - dy * std::sin(angle));
      const double y = std::abs(dx * std::sin(angle) + dy * std::cos(angle));
      sum += std::min(x, y);
    }
    return sum;
  };
  double best = 0;
  for (int degree = 1; degree < 180; ++degree) {
    const double angle = degree * std::numbers::pi / 360;
    if (crookedness(angle) < crookedness(best) - 1e-9) best = angle;
  }
  for (Point& point : points) {
    point = {point.x * std::cos(best) - point.y * std::sin(best),
             point.x * std::sin(best) + point.y * std::cos(best)};
  }
  Point middle;
  for (const Point& point : points) middle = {middle.x + point.x, middle.y + point.y};
  const double n = static_cast<double>(points.size());
  const bool flip_x = points[0].x > middle.x / n + 1e-6;
  const bool flip_y = points[0].y > middle.y / n + 1e-6;
  for (Point& point : points) point = {flip_x ? -point.x : point.x, flip_y ? -point.y : point.y};
  // Numbers run to the right first.
  if (points.size() > 1 && std::abs(points[1].y - points[0].y) > std::abs(points[1].x - points[0].x)) {
    for (Point& point : points) std::swap(point.x, point.y);
  }
}

}  // namespace

std::vector<Point> spread(std::size_t n, const std::vector<Edge>& edges) {
  if (n == 0) return {};
  const auto columns = static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(n))));
  if (edges.empty() || n < 3) return grid(n, n < 6 ? n : columns);
  const Distances distances = hop_distances(n, edges);
  if (nearly_complete(distances)) {
    // Neighbours of a ring, all chords inside.
    std::vector<Point> points = circle(n);
    for (Point& point : points) point = {point.x * 1.2, point.y * 1.2};
    return points;
  }
  std::vector<std::vector<Point>> starts = {circle(n), grid(n, n)};
  for (std::size_t width = 2; width <= n / 2; ++width) {
    if (n % width == 0 && width * 8 >= n / width && n / width * 8 >= width) starts.push_back(grid(n, width));
  }
  std::vector<Point> best;
  double least = std::numeric_limits<double>::max();
  const int rounds = n > 100 ? 60 : n > 30 ? 250 : 1000;
  for (std::vector<Point>& points : starts) {
    relax(points, distances, rounds);
    const double value = stress(points, distances);
    if (value >= least * 0.999) continue;
    least = value;
    best = points;
  }
  if (crowded(best)) return best_grid(n, edges);
  straighten(best, edges);
  return best;
}

}  // namespace mvm::topologies
