// SPDX-License-Identifier: Apache-2.0
// Puts the tiles together, in whatever order they come, and writes the picture.
//
//   painter WIDTH HEIGHT FILE.png      port "pixels", in

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fractal.h"
#include "png.h"

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "painter: %s: %s\n", what, mvm_error());
  std::exit(1);
}

std::uint32_t number(const char* text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)); }

struct Picture {
  std::uint32_t width, height;
  std::vector<std::uint8_t> pixels;
};

// Returns how many pixels the message brought.
std::size_t paint(const std::vector<unsigned char>& data, std::size_t size, Picture& picture) {
  mvm_unpacker message;
  mvm_unpack_init(&message, data.data(), size);
  Tile tile;
  unpack(message, tile);
  const bool inside = tile.left <= picture.width && tile.width <= picture.width - tile.left &&
                      tile.top <= picture.height && tile.height <= picture.height - tile.top;
  std::vector<std::uint8_t> pixels(inside ? std::size_t{tile.width} * tile.height : 0);
  if (mvm_unpack_u8s(&message, pixels.data(), pixels.size()) != static_cast<std::int64_t>(pixels.size())) {
    fail("unpack");
  }
  for (std::uint32_t row = 0; inside && row < tile.height; ++row) {
    std::copy_n(
        pixels.begin() + static_cast<std::ptrdiff_t>(row * tile.width), tile.width,
        picture.pixels.begin() + static_cast<std::ptrdiff_t>((tile.top + row) * picture.width + tile.left));
  }
  return pixels.size();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: painter WIDTH HEIGHT FILE.png\n");
    return 2;
  }
  Picture picture{number(argv[1]), number(argv[2]), {}};
  picture.pixels.resize(std::size_t{picture.width} * picture.height);
  if (mvm_attach() < 0) fail("attach");
  const int in = mvm_port("pixels", 0);
  if (in < 0) fail("port pixels");

  std::vector<unsigned char> message(1U << 20U);
  std::size_t painted = 0;
  std::int64_t size;
  while ((size = mvm_dequeue(in, message.data(), message.size(), nullptr)) >= 0) {
    painted += paint(message, static_cast<std::size_t>(size), picture);
  }
  if (size != MVM_EOS) fail("dequeue");
  if (!write_png(argv[3], picture.width, picture.height, picture.pixels)) {
    std::perror(argv[3]);
    return 1;
  }
  std::printf("painter: %zu of %zu pixels, %ux%u\n", painted, picture.pixels.size(), picture.width,
              picture.height);
  return painted == picture.pixels.size() && mvm_detach() >= 0 ? 0 : 1;
}
