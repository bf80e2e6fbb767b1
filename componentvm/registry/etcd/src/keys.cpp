#include "keys.h"

#include "mvm/registry/packing.h"

namespace mvm::registry {
namespace {

constexpr std::uint64_t kFormat = 1;
constexpr std::size_t kNumber = 8;

std::string bytes_of(std::uint64_t number) {
  std::string bytes(kNumber, '\0');
  for (std::size_t i = 0; i < kNumber; ++i) bytes[i] = static_cast<char>(number >> (8 * (kNumber - 1 - i)));
  return bytes;
}

}  // namespace

std::string Keys::head(std::string_view name, std::uint64_t index) const {
  return heads(name) + '\0' + bytes_of(index);
}

std::string Keys::item(std::string_view name, std::uint64_t index) const {
  return prefix_ + "v" + std::string(name) + '\0' + bytes_of(index);
}

std::string Keys::lease(std::uint64_t id) const { return prefix_ + "l" + bytes_of(id); }

std::optional<Keys::Place> Keys::place(std::string_view key) const {
  if (!key.starts_with(prefix_)) return std::nullopt;
  key.remove_prefix(prefix_.size());
  if (key.size() < 1 + 1 + 1 + kNumber || (key[0] != 'h' && key[0] != 'v')) return std::nullopt;
  const std::size_t end = key.size() - kNumber - 1;
  Place place{.is_head = key[0] == 'h', .name = std::string(key.substr(1, end - 1)), .index = 0};
  if (key[end] != '\0' || !check_name(place.name)) return std::nullopt;
  for (const char byte : key.substr(end + 1))
    place.index = place.index << 8U | static_cast<unsigned char>(byte);
  return place;
}

std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

std::string encode_head(const Info& info) {
  PackWriter out;
  out.number(kFormat).bytes(info.owner).number(info.flags).number(info.lease).number(info.size);
  return out.take();
}

Result<Info> decode_head(std::string_view bytes) {
  PackReader in(bytes);
  Info info;
  if (in.number() != kFormat) in.fail();
  info.owner = in.bytes(kMaxOwner);
  info.flags = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  info.lease = in.number();
  info.size = in.number(kMaxItem);
  MVM_TRY(in.end("an instance in etcd"));
  return info;
}

}  // namespace mvm::registry
