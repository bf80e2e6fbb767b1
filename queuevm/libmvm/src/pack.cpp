// SPDX-License-Identifier: Apache-2.0
// The neutral encoding, docs/formats/packing.md: one type byte, then the value, little-endian. Arrays,
// strings and bytes: the type byte with kMany, a 32-bit count, the elements. Nested items: a 32-bit size, the
// items.
#include <bit>
#include <cstring>
#include <type_traits>

#include "mvm.h"

namespace {

enum Type : unsigned char {
  kBool = 0x01,
  kI8 = 0x11,
  kI16 = 0x12,
  kI32 = 0x13,
  kI64 = 0x14,
  kU8 = 0x21,
  kU16 = 0x22,
  kU32 = 0x23,
  kU64 = 0x24,
  kF32 = 0x33,
  kF64 = 0x34,
  kString = 0x41,
  kBytes = 0x42,
  kNested = 0xf0,  // has kMany: its count is that of its bytes
};
constexpr unsigned char kMany = 0x80;
constexpr std::size_t kCountedHead = 5;

static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE 754 single and double");

unsigned width_of(unsigned char type) {
  switch (type & 0x7fU) {
    case kI16:
    case kU16:
      return 2;
    case kI32:
    case kU32:
    case kF32:
      return 4;
    case kI64:
    case kU64:
    case kF64:
      return 8;
    default:
      return 1;
  }
}

void store_count(unsigned char* at, std::size_t count) {
  for (unsigned i = 0; i < 4; ++i) at[i] = static_cast<unsigned char>(count >> (8 * i));
}

/// Copies `count` elements of `width` bytes between native and little-endian order.
void copy_elements(void* to, const void* from, std::size_t count, std::size_t width) {
  if (count == 0) return;
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(to, from, count * width);
  } else {
    auto* out = static_cast<unsigned char*>(to);
    const auto* in = static_cast<const unsigned char*>(from);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t b = 0; b < width; ++b) out[i * width + b] = in[i * width + width - 1 - b];
    }
  }
}

/// One element of a strided array, which need not be aligned for its type.
template <class Byte>
Byte* element(Byte* first, std::size_t index, std::ptrdiff_t stride, std::size_t width) {
  return first + static_cast<std::ptrdiff_t>(index) * stride * static_cast<std::ptrdiff_t>(width);
}

/// `stride` counts elements from one to the next; 1: they lie side by side.
int pack(mvm_packer* packer, unsigned char type, const void* values, std::size_t count,
         std::ptrdiff_t stride = 1) {
  if (packer == nullptr) return MVM_EINVAL;
  if (packer->status != MVM_OK) return packer->status;
  const std::size_t width = width_of(type);
  const std::size_t head = (type & kMany) != 0 ? kCountedHead : 1;
  if (values == nullptr && count != 0) return packer->status = MVM_EINVAL;
  if (packer->size > packer->capacity || packer->capacity - packer->size < head || count > UINT32_MAX ||
      count > (packer->capacity - packer->size - head) / width) {
    return packer->status = MVM_EEND;
  }
  unsigned char* at = packer->data + packer->size;
  at[0] = type;
  if (head == kCountedHead) store_count(at + 1, count);
  if (stride == 1) {
    copy_elements(at + head, values, count, width);
  } else {
    const auto* first = static_cast<const unsigned char*>(values);
    for (std::size_t i = 0; i < count; ++i)
      copy_elements(at + head + i * width, element(first, i, stride, width), 1, width);
  }
  packer->size += head + count * width;
  return MVM_OK;
}

/// Looks at the next item: its type, its number of elements, and where they begin.
int look(const mvm_unpacker* unpacker, unsigned char& type, std::size_t& count, std::size_t& at) {
  if (unpacker->position >= unpacker->size) return MVM_EEND;
  at = unpacker->position;
  std::size_t left = unpacker->size - at;
  type = unpacker->data[at];
  count = 1;
  const std::size_t head = (type & kMany) != 0 ? kCountedHead : 1;
  if (left < head) return MVM_EEND;
  if (head == kCountedHead) {
    count = 0;
    for (unsigned i = 0; i < 4; ++i) count |= static_cast<std::size_t>(unpacker->data[at + 1 + i]) << (8 * i);
  }
  left -= head;
  at += head;
  return count > left / width_of(type) ? MVM_EEND : MVM_OK;
}

bool is_known(unsigned char type) {
  switch (type) {
    case kBool:
    case kString | kMany:
    case kBytes | kMany:
    case kNested:
      return true;
    default:
      break;
  }
  switch (type & 0x7fU) {
    case kI8:
    case kI16:
    case kI32:
    case kI64:
    case kU8:
    case kU16:
    case kU32:
    case kU64:
    case kF32:
    case kF64:
      return true;
    default:
      return false;
  }
}

/// Reads the next item into `values` (room for `capacity` elements, `stride` elements from one to the next);
/// the number read.
int64_t unpack(mvm_unpacker* unpacker, unsigned char type, void* values, std::size_t capacity,
               std::ptrdiff_t stride = 1) {
  if (unpacker == nullptr || (values == nullptr && capacity != 0)) return MVM_EINVAL;
  if (unpacker->status != MVM_OK) return unpacker->status;
  unsigned char found = 0;
  std::size_t count = 0;
  std::size_t at = 0;
  if (const int result = look(unpacker, found, count, at); result != MVM_OK) return unpacker->status = result;
  if (found != type) return unpacker->status = MVM_ETYPE;
  if (count > capacity) return MVM_TOOBIG;
  const std::size_t width = width_of(type);
  if (stride == 1) {
    copy_elements(values, unpacker->data + at, count, width);
  } else {
    auto* first = static_cast<unsigned char*>(values);
    for (std::size_t i = 0; i < count; ++i)
      copy_elements(element(first, i, stride, width), unpacker->data + at + i * width, 1, width);
  }
  unpacker->position = at + count * width;
  return static_cast<int64_t>(count);
}

int unpack_one(mvm_unpacker* unpacker, unsigned char type, void* value) {
  if (value == nullptr) return MVM_EINVAL;
  const int64_t result = unpack(unpacker, type, value, 1);
  return result < 0 ? static_cast<int>(result) : MVM_OK;
}

}  // namespace

extern "C" {

void mvm_pack_init(mvm_packer* packer, void* buffer, size_t capacity) {
  *packer = mvm_packer{static_cast<unsigned char*>(buffer), buffer == nullptr ? 0 : capacity, 0, MVM_OK};
}

void mvm_unpack_init(mvm_unpacker* unpacker, const void* data, size_t size) {
  *unpacker = mvm_unpacker{static_cast<const unsigned char*>(data), data == nullptr ? 0 : size, 0, MVM_OK};
}

int mvm_pack_bool(mvm_packer* packer, int value) {
  const unsigned char byte = value != 0 ? 1 : 0;
  return pack(packer, kBool, &byte, 1);
}

int mvm_unpack_bool(mvm_unpacker* unpacker, int* value) {
  unsigned char byte = 0;
  const int result = unpack_one(unpacker, kBool, &byte);
  if (result == MVM_OK && value != nullptr) *value = byte != 0 ? 1 : 0;
  return result;
}

// NOLINTBEGIN(bugprone-macro-parentheses): a type cannot be put in parentheses
#define MVM_PACK_NUMBER(name, type, tag)                                                                  \
  int mvm_pack_##name(mvm_packer* packer, type value) { return pack(packer, tag, &value, 1); }            \
  int mvm_pack_##name##s(mvm_packer* packer, const type* values, size_t count) {                          \
    return pack(packer, tag | kMany, values, count);                                                      \
  }                                                                                                       \
  int mvm_unpack_##name(mvm_unpacker* unpacker, type* value) { return unpack_one(unpacker, tag, value); } \
  int64_t mvm_unpack_##name##s(mvm_unpacker* unpacker, type* values, size_t capacity) {                   \
    return unpack(unpacker, tag | kMany, values, capacity);                                               \
  }                                                                                                       \
  int mvm_pack_##name##s_strided(mvm_packer* packer, const type* first, size_t count, ptrdiff_t stride) { \
    return pack(packer, tag | kMany, first, count, stride);                                               \
  }                                                                                                       \
  int64_t mvm_unpack_##name##s_strided(mvm_unpacker* unpacker, type* first, size_t capacity,              \
                                       ptrdiff_t stride) {                                                \
    return unpack(unpacker, tag | kMany, first, capacity, stride);                                        \
  }
// NOLINTEND(bugprone-macro-parentheses)

MVM_PACK_NUMBER(i8, int8_t, kI8)
MVM_PACK_NUMBER(i16, int16_t, kI16)
MVM_PACK_NUMBER(i32, int32_t, kI32)
MVM_PACK_NUMBER(i64, int64_t, kI64)
MVM_PACK_NUMBER(u8, uint8_t, kU8)
MVM_PACK_NUMBER(u16, uint16_t, kU16)
MVM_PACK_NUMBER(u32, uint32_t, kU32)
MVM_PACK_NUMBER(u64, uint64_t, kU64)
MVM_PACK_NUMBER(f32, float, kF32)
MVM_PACK_NUMBER(f64, double, kF64)

#undef MVM_PACK_NUMBER

int mvm_pack_string(mvm_packer* packer, const char* text) {
  return pack(packer, kString | kMany, text, text == nullptr ? 1 : std::strlen(text));
}

int mvm_pack_bytes(mvm_packer* packer, const void* data, size_t size) {
  return pack(packer, kBytes | kMany, data, size);
}

int64_t mvm_unpack_string(mvm_unpacker* unpacker, char* buffer, size_t capacity) {
  if (buffer == nullptr || capacity == 0) return MVM_EINVAL;
  const int64_t length = unpack(unpacker, kString | kMany, buffer, capacity - 1);
  if (length >= 0) buffer[length] = '\0';
  return length;
}

int64_t mvm_unpack_bytes(mvm_unpacker* unpacker, void* buffer, size_t capacity) {
  return unpack(unpacker, kBytes | kMany, buffer, capacity);
}

int64_t mvm_unpack_length(mvm_unpacker* unpacker) {
  if (unpacker == nullptr) return MVM_EINVAL;
  if (unpacker->status != MVM_OK) return unpacker->status;
  unsigned char type = 0;
  std::size_t count = 0;
  std::size_t at = 0;
  const int result = look(unpacker, type, count, at);
  return result == MVM_OK ? static_cast<int64_t>(count) : result;
}

int64_t mvm_pack_begin(mvm_packer* packer) {
  if (packer == nullptr) return MVM_EINVAL;
  const int result = pack(packer, kNested, nullptr, 0);
  return result == MVM_OK ? static_cast<int64_t>(packer->size - kCountedHead) : result;
}

int mvm_pack_end(mvm_packer* packer, int64_t place) {
  if (packer == nullptr) return MVM_EINVAL;
  if (packer->status != MVM_OK) return packer->status;
  const auto at = static_cast<std::size_t>(place);
  if (place < 0 || packer->size < kCountedHead || at > packer->size - kCountedHead ||
      packer->data[at] != kNested) {
    return packer->status = MVM_EINVAL;
  }
  const std::size_t size = packer->size - at - kCountedHead;
  if (size > UINT32_MAX) return packer->status = MVM_EEND;
  store_count(packer->data + at + 1, size);
  return MVM_OK;
}

int mvm_unpack_nested(mvm_unpacker* unpacker, mvm_unpacker* inside) {
  if (unpacker == nullptr || inside == nullptr) return MVM_EINVAL;
  mvm_unpack_init(inside, nullptr, 0);
  unsigned char found = 0;
  std::size_t size = 0;
  std::size_t at = 0;
  if (unpacker->status == MVM_OK) unpacker->status = look(unpacker, found, size, at);
  if (unpacker->status == MVM_OK && found != kNested) unpacker->status = MVM_ETYPE;
  if (unpacker->status != MVM_OK) return inside->status = unpacker->status;
  unpacker->position = at + size;
  mvm_unpack_init(inside, unpacker->data + at, size);
  return MVM_OK;
}

int mvm_unpack_skip(mvm_unpacker* unpacker) {
  if (unpacker == nullptr) return MVM_EINVAL;
  if (unpacker->status != MVM_OK) return unpacker->status;
  unsigned char found = 0;
  std::size_t count = 0;
  std::size_t at = 0;
  if (const int result = look(unpacker, found, count, at); result != MVM_OK) return unpacker->status = result;
  if (!is_known(found)) return unpacker->status = MVM_ETYPE;
  unpacker->position = at + count * width_of(found);
  return MVM_OK;
}

}  // extern "C"
