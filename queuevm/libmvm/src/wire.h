// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reading the wiring table and the attach packets: docs/formats/wiring.md. Bytes from outside; every bound
// checked.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace mvm::wire {

inline constexpr std::uint64_t kTableMagic = 0x3145'5249'574d'564dULL;  // "MVMWIRE1"
inline constexpr std::uint32_t kTableVersion = 2;
inline constexpr std::size_t kTableHeader = 64;
inline constexpr std::size_t kGenerationAt = 16;
inline constexpr std::size_t kMaxTable = std::size_t{4} << 20;
inline constexpr std::uint32_t kMaxPorts = 65536;
inline constexpr std::uint32_t kMaxLinks = 65536;
inline constexpr std::uint32_t kMaxParameters = 4096;
inline constexpr std::uint32_t kMaxText = 4096;
inline constexpr std::uint32_t kMaxDescriptors = 65536;

inline constexpr std::uint32_t kPacketMagic = 0x414d'564dU;  // "MVMA"
inline constexpr std::uint16_t kPacketVersion = 1;
inline constexpr std::uint16_t kAskDescriptors = 1;
inline constexpr std::uint32_t kDescriptorsPerPacket = 200;
inline constexpr std::size_t kRequestSize = 16;  // magic, version, what, first descriptor, 0
inline constexpr std::size_t kReplySize = 32;  // magic, version, status, generation, first, number, total, 0

struct Link {
  std::uint64_t id = 0;
  std::uint32_t descriptor = 0;
  std::uint32_t slot = 0;
  std::vector<std::uint64_t> after;  // links of the same port whose ends come before this one's first message
};
struct Port {
  std::string name;
  std::uint32_t index = 0;
  std::uint8_t direction = 0;  // 0 in, 1 out
  std::uint8_t deliver = 0;    // 0 one-of, 1 every-one, 2 by-key
  std::vector<Link> links;
};
struct Table {
  std::string job;
  std::string role;
  std::uint32_t index = 0;
  std::uint32_t count = 1;
  std::uint32_t descriptors = 0;
  std::vector<std::pair<std::string, std::string>> parameters;
  std::vector<Port> ports;
};

/// Decodes one copy of the table. False, with the reason, where a single byte is not as it should be.
bool decode(const unsigned char* bytes, std::size_t size, Table& table, std::string& why);

inline std::uint32_t load32(const unsigned char* at) {
  return static_cast<std::uint32_t>(at[0]) | static_cast<std::uint32_t>(at[1]) << 8 |
         static_cast<std::uint32_t>(at[2]) << 16 | static_cast<std::uint32_t>(at[3]) << 24;
}
inline std::uint64_t load64(const unsigned char* at) {
  return static_cast<std::uint64_t>(load32(at)) | static_cast<std::uint64_t>(load32(at + 4)) << 32;
}
inline std::uint16_t load16(const unsigned char* at) {
  return static_cast<std::uint16_t>(at[0] | static_cast<unsigned>(at[1]) << 8);
}
inline void store16(unsigned char* at, std::uint16_t value) {
  at[0] = static_cast<unsigned char>(value);
  at[1] = static_cast<unsigned char>(value >> 8);
}
inline void store32(unsigned char* at, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) at[i] = static_cast<unsigned char>(value >> (8 * i));
}
inline void store64(unsigned char* at, std::uint64_t value) {
  store32(at, static_cast<std::uint32_t>(value));
  store32(at + 4, static_cast<std::uint32_t>(value >> 32));
}

}  // namespace mvm::wire
