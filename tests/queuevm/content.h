#pragma once
// Messages that prove themselves: who sent it, which one, how long, and bytes that follow from these.

#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace mvm::test {

struct Stamp {
  std::uint32_t producer = 0;
  std::uint32_t size = 0;  // of the whole message
  std::uint64_t number = 0;
};

inline unsigned char pattern(const Stamp& stamp, std::size_t at) {
  return static_cast<unsigned char>(stamp.number * 31 + stamp.producer * 7 + at * 13 + (at >> 8));
}

inline std::vector<unsigned char> make_message(std::uint32_t producer, std::uint64_t number,
                                               std::size_t size) {
  const Stamp stamp{producer, static_cast<std::uint32_t>(size), number};
  std::vector<unsigned char> bytes(size);
  for (std::size_t i = sizeof stamp; i < size; ++i) bytes[i] = pattern(stamp, i);
  if (size >= sizeof stamp) std::memcpy(bytes.data(), &stamp, sizeof stamp);
  return bytes;
}

/// False where a single byte is wrong.
inline bool check_message(const void* data, std::size_t size, Stamp& stamp) {
  if (size < sizeof stamp) return false;
  std::memcpy(&stamp, data, sizeof stamp);
  if (stamp.size != size) return false;
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (std::size_t i = sizeof stamp; i < size; ++i) {
    if (bytes[i] != pattern(stamp, i)) return false;
  }
  return true;
}

/// Sizes from 16 bytes on, mostly short, now and then up to `most`.
inline std::size_t some_size(std::mt19937& random, std::size_t most) {
  const auto roll = random() % 100;
  if (roll < 70) return 16 + random() % 100;
  if (roll < 95) return 16 + random() % (most / 8);
  return 16 + random() % (most - 15);
}

}  // namespace mvm::test
