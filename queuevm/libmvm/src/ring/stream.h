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
  if (size > s.most) return false;
  const std::uint64_t end = s.position + 8 + padded(size);
  if (end > s.room_until || s.count >= s.count_until ||
      s.epoch->load(std::memory_order_relaxed) != s.seen_epoch) {
    return false;
  }
  std::atomic<std::uint64_t>& word = word_at(s, s.position);
  copy_message(reinterpret_cast<std::byte*>(&word) + 8, data, size);
  word_at(s, end).store(0, std::memory_order_relaxed);
  word.store((size + 1) | (s.count & 0xffffU) << 32, std::memory_order_release);
  s.position = end;
  ++s.count;
  if (padded(size) != size) s.own->bytes.store(bytes_ += padded(size) - size, std::memory_order_relaxed);
  s.own->position.store(end, std::memory_order_relaxed);
  s.own->count.store(s.count, std::memory_order_relaxed);
  fence_own(s.fences);
  if (__builtin_expect(s.wakes->sleepers.load(std::memory_order_relaxed) != 0, 0)) stream_wake();
  return true;
}

inline bool End::quick_ready() const { return word_at(s_, s_.position).load(std::memory_order_acquire) != 0; }

inline std::int64_t End::quick_get(void* buffer, std::uint64_t capacity) {
  StreamState& s = s_;
  const std::atomic<std::uint64_t>& word = word_at(s, s.position);
  const std::uint64_t seen = word.load(std::memory_order_acquire);
  // One comparison for the number and the flags; an empty word has the largest size there is.
  const std::uint64_t size = (seen & kWordSize) - 1;
  if ((seen >> 32) != (s.count & 0xffffU) || size > s.most || size > capacity || s.held != 0) {
    return kAgain;
  }
  copy_message(buffer, reinterpret_cast<const std::byte*>(&word) + 8, size);
  s.position += 8 + padded(size);
  ++s.count;
  if (padded(size) != size) s.own->bytes.store(bytes_ += padded(size) - size, std::memory_order_relaxed);
  s.own->position.store(s.position, std::memory_order_release);
  s.own->count.store(s.count, std::memory_order_release);
  fence_own(s.fences);
  if (__builtin_expect(s.wakes->sleepers.load(std::memory_order_relaxed) != 0, 0)) stream_wake();
  return static_cast<std::int64_t>(size);
}

}  // namespace mvm::ring
