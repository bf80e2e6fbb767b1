// SPDX-License-Identifier: Apache-2.0
// What workers and judge agree on: the signal, and how it is shared out.
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <numbers>

using Complex = std::complex<double>;

// The signal's value at sample `t` of `points`: three tones, a drift and a reproducible noise.
inline Complex signal_at(std::size_t t, std::size_t points) {
  const double x = 2 * std::numbers::pi * static_cast<double>(t) / static_cast<double>(points);
  std::size_t noise = t * 2654435761U + 12345U;
  noise ^= noise >> 13U;
  noise = noise * 1597334677U;
  const double jitter = static_cast<double>(noise % 20011U) / 20011.0 - 0.5;
  return {std::sin(17 * x) + 0.5 * std::cos(121 * x) + 0.01 * x, 0.25 * std::sin(900 * x) + 0.1 * jitter};
}

// exp(-2 pi i k / n)
inline Complex root(std::size_t k, std::size_t n) {
  const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}

// The lowest `bits` bits of `value`, in reverse order.
inline std::size_t reversed(std::size_t value, unsigned bits) {
  std::size_t result = 0;
  for (unsigned i = 0; i < bits; ++i) result |= ((value >> i) & 1U) << (bits - 1 - i);
  return result;
}
