#pragma once
// Where the items and boxes of a scene stand. Deterministic, in pixels.

#include <vector>

#include "scene.h"

namespace mvm::topologies {

struct Point {
  double x = 0, y = 0;
};

struct Rectangle {
  double x = 0, y = 0, width = 0, height = 0;
  [[nodiscard]] Point centre() const { return {x + width / 2, y + height / 2}; }
};

struct Layout {
  std::vector<Rectangle> items;
  std::vector<Rectangle> boxes;
  double width = 0, height = 0;
};

[[nodiscard]] Layout lay_out(const Scene& scene);

/// Positions of n points whose distances are near those of the graph: rings become circles, meshes grids,
/// trees trees. Neighbours are about 1 apart. `edges` are pairs of point numbers.
[[nodiscard]] std::vector<Point> spread(std::size_t n,
                                        const std::vector<std::pair<std::size_t, std::size_t>>& edges);

}  // namespace mvm::topologies
