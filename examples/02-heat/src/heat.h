// SPDX-License-Identifier: Apache-2.0
// What cells and judge agree on: the first state of the ring and the law of its change.
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>

// Two hot humps and a cold one on a ring of `points`.
inline double heat_at_start(std::size_t point, std::size_t points) {
  const double x = 2 * std::numbers::pi * static_cast<double>(point) / static_cast<double>(points);
  return 20 + 30 * std::exp(-8 * (x - 1.5) * (x - 1.5)) + 60 * std::exp(-20 * (x - 4) * (x - 4)) +
         5 * std::cos(3 * x);
}

// One explicit step of the heat equation u' = u'' with dt/dx^2 = 1/4.
inline double heat_step(double left, double here, double right) {
  return here + 0.25 * (left - 2 * here + right);
}
