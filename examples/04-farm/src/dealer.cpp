// SPDX-License-Identifier: Apache-2.0
// Cuts the picture into tiles and deals them out to whoever is free.
//
//   dealer WIDTH HEIGHT TILE       port "tiles", out

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "fractal.h"

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "dealer: %s: %s\n", what, mvm_error());
  std::exit(1);
}

std::uint32_t number(const char* text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: dealer WIDTH HEIGHT TILE\n");
    return 2;
  }
  const std::uint32_t width = number(argv[1]), height = number(argv[2]), side = number(argv[3]);
  if (width == 0 || height == 0 || side == 0) {
    std::fprintf(stderr, "dealer: sizes must be positive numbers\n");
    return 2;
  }
  if (mvm_attach() < 0) fail("attach");
  const int tiles = mvm_port("tiles", 0);
  if (tiles < 0) fail("port tiles");

  unsigned dealt = 0;
  for (std::uint32_t top = 0; top < height; top += side) {
    for (std::uint32_t left = 0; left < width; left += side) {
      unsigned char buffer[64];
      mvm_packer message;
      mvm_pack_init(&message, buffer, sizeof buffer);
      if (pack(message, {left, top, std::min(side, width - left), std::min(side, height - top)}) < 0)
        fail("pack");
      if (mvm_enqueue(tiles, buffer, message.size, nullptr) < 0) fail("enqueue");
      ++dealt;
    }
  }
  std::printf("dealer: %u tiles\n", dealt);
  return mvm_detach() < 0 ? 1 : 0;
}
