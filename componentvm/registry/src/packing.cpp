#include "mvm/registry/packing.h"

#include <mvm.h>

#include <array>

namespace mvm::registry {
namespace {

constexpr std::size_t kHead = 5;  // of bytes: type, count

/// Appends what `pack` writes into `room` bytes.
template <class Pack>
void append(std::string& bytes, std::size_t room, Pack pack) {
  const std::size_t before = bytes.size();
  bytes.resize(before + room);
  mvm_packer packer;
  mvm_pack_init(&packer, bytes.data() + before, room);
  pack(packer);
  bytes.resize(before + packer.size);
}

mvm_unpacker unpacker_at(std::string_view bytes, std::size_t position) {
  mvm_unpacker unpacker;
  mvm_unpack_init(&unpacker, bytes.data(), bytes.size());
  unpacker.position = position;
  return unpacker;
}

}  // namespace

PackWriter& PackWriter::number(std::uint64_t value) {
  append(bytes_, 1 + sizeof value, [&](mvm_packer& packer) { mvm_pack_u64(&packer, value); });
  return *this;
}

PackWriter& PackWriter::flag(bool value) {
  append(bytes_, 2, [&](mvm_packer& packer) { mvm_pack_bool(&packer, value ? 1 : 0); });
  return *this;
}

PackWriter& PackWriter::bytes(std::string_view value) {
  append(bytes_, kHead + value.size(),
         [&](mvm_packer& packer) { mvm_pack_bytes(&packer, value.data(), value.size()); });
  return *this;
}

PackWriter& PackWriter::text(const std::string& value) {
  append(bytes_, kHead + value.size(), [&](mvm_packer& packer) { mvm_pack_string(&packer, value.c_str()); });
  return *this;
}

std::uint64_t PackReader::number() {
  auto unpacker = unpacker_at(bytes_, position_);
  std::uint64_t value = 0;
  if (!good_ || mvm_unpack_u64(&unpacker, &value) != MVM_OK) {
    good_ = false;
    return 0;
  }
  position_ = unpacker.position;
  return value;
}

std::uint64_t PackReader::number(std::uint64_t most) {
  const std::uint64_t value = number();
  if (value <= most) return value;
  good_ = false;
  return 0;
}

bool PackReader::flag() {
  auto unpacker = unpacker_at(bytes_, position_);
  int value = 0;
  if (!good_ || mvm_unpack_bool(&unpacker, &value) != MVM_OK) {
    good_ = false;
    return false;
  }
  position_ = unpacker.position;
  return value != 0;
}

std::string PackReader::bytes(std::size_t most) {
  auto unpacker = unpacker_at(bytes_, position_);
  const std::int64_t length = good_ ? mvm_unpack_length(&unpacker) : -1;
  if (length < 0 || static_cast<std::uint64_t>(length) > most) {
    good_ = false;
    return {};
  }
  std::string value(static_cast<std::size_t>(length), '\0');
  if (mvm_unpack_bytes(&unpacker, value.data(), value.size()) != length) {
    good_ = false;
    return {};
  }
  position_ = unpacker.position;
  return value;
}

std::string PackReader::text(std::size_t most) {
  auto unpacker = unpacker_at(bytes_, position_);
  const std::int64_t length = good_ ? mvm_unpack_length(&unpacker) : -1;
  if (length < 0 || static_cast<std::uint64_t>(length) > most) {
    good_ = false;
    return {};
  }
  std::string value(static_cast<std::size_t>(length) + 1, '\0');
  if (mvm_unpack_string(&unpacker, value.data(), value.size()) != length) {
    good_ = false;
    return {};
  }
  value.pop_back();
  position_ = unpacker.position;
  return value;
}

std::size_t PackReader::count(std::size_t most) {
  const std::uint64_t value = number(most);
  if (value <= bytes_.size() - position_) return static_cast<std::size_t>(value);
  good_ = false;
  return 0;
}

Status PackReader::end(std::string_view what) const {
  if (good_ && position_ == bytes_.size()) return ok();
  return Error(ErrorCode::kCorrupt, std::string(what) + ": broken at byte " + std::to_string(position_) +
                                        " of " + std::to_string(bytes_.size()));
}

}  // namespace mvm::registry
