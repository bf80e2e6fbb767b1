// SPDX-License-Identifier: Apache-2.0
#include "wire.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace mvm::wire {
namespace {

/// A cursor that refuses to leave its bytes.
class Reader {
 public:
  Reader(const unsigned char* bytes, std::size_t size) : at_(bytes), left_(size) {}
  bool u32(std::uint32_t& value) {
    if (left_ < 4) return false;
    value = load32(at_);
    return skip(4);
  }
  bool u64(std::uint64_t& value) {
    if (left_ < 8) return false;
    value = load64(at_);
    return skip(8);
  }
  bool u8(std::uint8_t& value) {
    if (left_ < 1) return false;
    value = *at_;
    return skip(1);
  }
  bool text(std::string& value) {
    std::uint32_t size = 0;
    if (!u32(size) || size > kMaxText || size > left_) return false;
    value.assign(reinterpret_cast<const char*>(at_), size);
    return value.find('\0') == std::string::npos && skip(size);
  }
  [[nodiscard]] std::size_t left() const { return left_; }

 private:
  bool skip(std::size_t size) {
    at_ += size;
    left_ -= size;
    return true;
  }
  const unsigned char* at_;
  std::size_t left_;
};

bool read_port(Reader& reader, const Table& table, std::uint32_t& links_left, Port& port) {
  std::uint8_t zero1 = 0;
  std::uint8_t zero2 = 0;
  std::uint32_t links = 0;
  if (!reader.text(port.name) || port.name.empty() || !reader.u32(port.index) || !reader.u8(port.direction) ||
      !reader.u8(port.deliver) || !reader.u8(zero1) || !reader.u8(zero2) || !reader.u32(links)) {
    return false;
  }
  if (port.direction > 1 || port.deliver > 2 || zero1 != 0 || zero2 != 0 || links > links_left) return false;
  if (links > reader.left() / 20) return false;
  links_left -= links;
  port.links.resize(links);
  for (Link& link : port.links) {
    std::uint32_t after = 0;
    if (!reader.u64(link.id) || !reader.u32(link.descriptor) || !reader.u32(link.slot) || !reader.u32(after))
      return false;
    if (link.descriptor >= table.descriptors || after > reader.left() / 8) return false;
    link.after.resize(after);
    for (std::uint64_t& id : link.after)
      if (!reader.u64(id) || id >= link.id) return false;  // only older ones: no two wait for each other
  }
  return true;
}

}  // namespace

bool decode(const unsigned char* bytes, std::size_t size, Table& table, std::string& why) {
  table = Table{};
  why = "the wiring table's head is cut off or out of bounds";
  if (size > kMaxTable) return false;
  Reader reader(bytes, size);
  std::uint32_t parameters = 0;
  if (!reader.text(table.job) || !reader.text(table.role) || !reader.u32(table.index) ||
      !reader.u32(table.count) || !reader.u32(table.descriptors) || !reader.u32(parameters)) {
    return false;
  }
  if (table.index >= table.count || table.descriptors > kMaxDescriptors) return false;
  why = "the wiring table's parameters are cut off or out of bounds";
  if (parameters > kMaxParameters || parameters > reader.left() / 8) return false;
  table.parameters.resize(parameters);
  for (auto& [name, value] : table.parameters) {
    if (!reader.text(name) || name.empty() || !reader.text(value)) return false;
  }
  why = "the wiring table's ports are cut off or out of bounds";
  std::uint32_t ports = 0;
  if (!reader.u32(ports) || ports > kMaxPorts || ports > reader.left() / 16) return false;
  std::uint32_t links_left = kMaxLinks;
  table.ports.resize(ports);
  std::set<std::pair<std::string_view, std::uint32_t>> names;
  std::set<std::tuple<std::uint32_t, std::uint8_t, std::uint32_t>> ends;
  for (Port& port : table.ports) {
    if (!read_port(reader, table, links_left, port)) return false;
    if (!names.emplace(port.name, port.index).second) {
      why = "the wiring table names the port " + port.name + " twice";
      return false;
    }
    for (const Link& link : port.links) {
      if (!ends.emplace(link.descriptor, port.direction, link.slot).second) {
        why = "the wiring table joins two ports to the same end of a queue";
        return false;
      }
    }
  }
  why = "the wiring table has bytes behind its end";
  if (reader.left() != 0) return false;
  why.clear();
  return true;
}

}  // namespace mvm::wire
