// SPDX-License-Identifier: Apache-2.0
// What the farm's three kinds of process agree on: tiles, and how they travel.
#pragma once

#include <mvm.h>

#include <cstdint>

// A rectangle of the picture.
struct Tile {
  std::uint32_t left = 0, top = 0, width = 0, height = 0;
};

inline int pack(mvm_packer& message, const Tile& tile) {
  mvm_pack_u32(&message, tile.left);
  mvm_pack_u32(&message, tile.top);
  mvm_pack_u32(&message, tile.width);
  return mvm_pack_u32(&message, tile.height);
}

inline int unpack(mvm_unpacker& message, Tile& tile) {
  mvm_unpack_u32(&message, &tile.left);
  mvm_unpack_u32(&message, &tile.top);
  mvm_unpack_u32(&message, &tile.width);
  return mvm_unpack_u32(&message, &tile.height);
}
