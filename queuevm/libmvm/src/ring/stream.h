// SPDX-License-Identifier: Apache-2.0
#pragma once
// The short way of streams: a message that fits, room or a message that is certainly there, nobody to be told
// of. All else is stream.cpp's.

#include <cstring>

#include "end.h"

namespace mvm::ring {

inline constexpr std::uint64_t kWordSize = 0xffff'ffffU;
inline std::uint64_t padded(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

inline std::atomic<std::uint64_t>& word_at(const StreamState& s, std::uint64_t position) {
  return *reinterpret_cast<std::atomic<std::uint64_t>*>(s.data + (position & s.mask));
}

inline void copy_message(void* to, const void* from, std::uint64_t size) {
  if (size == 8) {  // a number, a pointer: the commonest message is one instruction
    std::memcpy(to, from, 8);
  } else if (size != 0) {
    std::memcpy(to, from, size);
  }
}

inline bool End::quick_put(const void* data, std::uint64_t size) {
  StreamState& s = s_;
  // Copies in registers: no store to shared memory can change them, which the compiler does not know.
  const std::uint64_t position = s.position;
  const std::uint64_t count = s.count;
  const std::uint64_t end = position + 8 + padded(size);
  if (size > s.most || end > s.room_until || count >= s.count_until ||
      s.epoch->load(std::memory_order_relaxed) != s.seen_epoch) {
    return false;
  }
  std::byte* const ring = s.data;
  const std::uint64_t mask = s.mask;
  Slot* const own = s.own;
  const Event* const wakes = s.wakes;
  const bool fences = s.fences;
  std::byte* const at = ring + (position & mask);
  copy_message(at + 8, data, size);
  reinterpret_cast<std::atomic<std::uint64_t>*>(ring + (end & mask))->store(0, std::memory_order_relaxed);
  reinterpret_cast<std::atomic<std::uint64_t>*>(at)->store((size + 1) | (count & 0xffffU) << 32,
                                                           std::memory_order_release);
  s.position = end;
  s.count = count + 1;
  if (__builtin_expect((size & 7U) != 0, 0)) {
    own->bytes.store(bytes_ += padded(size) - size, std::memory_order_relaxed);
  }
  own->count.store(count + 1, std::memory_order_relaxed);  // before the position: see stream_attach
  own->position.store(end, std::memory_order_release);
  fence_own(fences);
  if (__builtin_expect(wakes->sleepers.load(std::memory_order_relaxed) != 0, 0)) stream_wake();
  return true;
}

inline bool End::quick_ready() const { return word_at(s_, s_.position).load(std::memory_order_acquire) != 0; }

inline std::int64_t End::quick_get(void* buffer, std::uint64_t capacity) {
  StreamState& s = s_;
  const std::uint64_t position = s.position;
  const std::uint64_t count = s.count;
  const std::byte* const at = s.data + (position & s.mask);
  const std::uint64_t word =
      reinterpret_cast<const std::atomic<std::uint64_t>*>(at)->load(std::memory_order_acquire);
  // One comparison for the number and the flags; an empty word has the largest size there is.
  const std::uint64_t size = (word & kWordSize) - 1;
  if ((word >> 32) != (count & 0xffffU) || size > s.most || size > capacity || s.held != 0) return kAgain;
  Slot* const own = s.own;
  const Event* const wakes = s.wakes;
  const bool fences = s.fences;
  const std::uint64_t end = position + 8 + padded(size);
  copy_message(buffer, at + 8, size);
  s.position = end;
  s.count = count + 1;
  if (__builtin_expect((size & 7U) != 0, 0)) {
    own->bytes.store(bytes_ += padded(size) - size, std::memory_order_relaxed);
  }
  own->count.store(count + 1, std::memory_order_release);
  own->position.store(end, std::memory_order_release);
  fence_own(fences);
  if (__builtin_expect(wakes->sleepers.load(std::memory_order_relaxed) != 0, 0)) stream_wake();
  return static_cast<std::int64_t>(size);
}

}  // namespace mvm::ring
