// SPDX-License-Identifier: Apache-2.0
// Computes tiles of the Mandelbrot set until there are no more.
//
//   worker WIDTH HEIGHT DEPTH      ports "tiles", in, and "pixels", out

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fractal.h"

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "worker %u: %s: %s\n", mvm_index(), what, mvm_error());
  std::exit(1);
}

std::uint32_t number(const char* text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)); }

// How many steps until z := z^2 + c leaves the circle of radius 2; `depth` when it does not.
std::uint32_t steps(double re, double im, std::uint32_t depth) {
  double x = 0, y = 0;
  std::uint32_t step = 0;
  for (; step < depth; ++step) {
    const double xx = x * x, yy = y * y;
    if (xx + yy > 4) break;
    y = 2 * x * y + im;
    x = xx - yy + re;
  }
  return step;
}

// A byte a pixel: 0 inside the set, 1 to 255 by the number of steps outside.
void compute(const Tile& tile, std::uint32_t width, std::uint32_t height, std::uint32_t depth,
             std::vector<std::uint8_t>& pixels) {
  pixels.clear();
  const double scale = 3.0 / width;
  for (std::uint32_t row = tile.top; row < tile.top + tile.height; ++row) {
    for (std::uint32_t column = tile.left; column < tile.left + tile.width; ++column) {
      const double re = -2.2 + scale * column;
      const double im = scale * (static_cast<double>(row) - height / 2.0);
      const std::uint32_t found = steps(re, im, depth);
      pixels.push_back(found == depth ? 0 : static_cast<std::uint8_t>(1 + found % 255));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: worker WIDTH HEIGHT DEPTH\n");
    return 2;
  }
  const std::uint32_t width = number(argv[1]), height = number(argv[2]), depth = number(argv[3]);
  if (mvm_attach() < 0) fail("attach");
  const int tiles = mvm_port("tiles", 0), out = mvm_port("pixels", 0);
  if (tiles < 0 || out < 0) fail("ports");

  std::vector<std::uint8_t> pixels;
  unsigned char work[64];
  unsigned done = 0;
  std::int64_t size;
  while ((size = mvm_dequeue(tiles, work, sizeof work, nullptr)) >= 0) {
    mvm_unpacker order;
    mvm_unpack_init(&order, work, static_cast<std::size_t>(size));
    Tile tile;
    if (unpack(order, tile) < 0) fail("unpack");
    compute(tile, width, height, depth, pixels);
    std::vector<unsigned char> buffer(pixels.size() + 128);
    mvm_packer message;
    mvm_pack_init(&message, buffer.data(), buffer.size());
    pack(message, tile);
    if (mvm_pack_u8s(&message, pixels.data(), pixels.size()) < 0) fail("pack");
    if (mvm_enqueue(out, buffer.data(), message.size, nullptr) < 0) fail("enqueue");
    ++done;
  }
  if (size != MVM_EOS) fail("dequeue");
  std::printf("worker %u of %u: %u tiles\n", mvm_index(), mvm_count(), done);
  return mvm_detach() < 0 ? 1 : 0;
}
