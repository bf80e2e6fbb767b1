// SPDX-License-Identifier: Apache-2.0
#pragma once
// The short way of claim queues: an only producer with room for certain, a consumer before whom the next
// short message lies, nobody to be told of. All else is claims_end.cpp's.

#include "stream.h"

namespace mvm::ring {

inline constexpr std::uint64_t kClaimQuick = 256;  // up to here a message is copied before it is claimed

inline std::uint64_t claim_units(std::uint64_t bytes) { return (bytes + kClaimUnit - 1) / kClaimUnit; }
inline std::uint64_t claim_meta(std::uint64_t size, std::uint64_t room, bool keyed) {
  return size | room << 32 | (keyed ? kClaimKeyed : 0);
}

// Not memcpy: where another consumer claims the message first, this reads what is being overwritten, and the
// bytes are thrown away. A sanitizer cannot know that.
__attribute__((no_sanitize("thread"))) inline void copy_unclaimed(void* to, const std::byte* from,
                                                                  std::uint64_t size) {
  auto* out = static_cast<std::byte*>(to);
  for (; size >= 8; size -= 8, out += 8, from += 8) __builtin_memcpy(out, from, 8);
  for (; size != 0; --size) *out++ = *from++;
}

inline bool End::claims_quick_put(const void* data, std::uint64_t size) {
  ClaimState& c = c_;
  const std::uint64_t ticket = c.next;
  const std::uint64_t room = claim_units(size);
  if (size > kClaimQuick || ticket >= s_.room_until || ((c.end - c.low) & kClaimEndMask) + room > c.limit ||
      s_.epoch->load(std::memory_order_relaxed) != s_.seen_epoch) {
    return false;
  }
  Place& place = c.places.at(ticket);
  Slot* const own = s_.own;
  const Event* const wakes = s_.wakes;
  const bool fences = s_.fences;
  const std::uint64_t lap = c.places.lap(ticket);
  const std::uint64_t end = (c.end + room) & kClaimEndMask;
  copy_message(s_.data + ((c.end * kClaimUnit) & s_.mask), data, size);
  place.meta.store(claim_meta(size, room, false), std::memory_order_relaxed);
  place.word.store(PlaceWord::make(lap, kPlaceReady, index_, end), std::memory_order_release);
  c.end = end;
  c.next = count_ = ticket + 1;
  own->bytes.store(bytes_ += size, std::memory_order_relaxed);
  own->count.store(ticket + 1, std::memory_order_release);
  fence_own(fences);
  if (__builtin_expect(wakes->sleepers.load(std::memory_order_relaxed) != 0, 0)) claims_wake_consumer();
  return true;
}

inline std::int64_t End::claims_quick_get(void* buffer, std::uint64_t capacity) {
  ClaimState& c = c_;
  const std::uint64_t ticket = c.next;
  Place& place = c.places.at(ticket);
  std::uint64_t word = place.word.load(std::memory_order_acquire);
  if (PlaceWord::state(word) != kPlaceReady || PlaceWord::lap(word) != c.places.lap(ticket) ||
      c.hole_count != 0 || s_.epoch->load(std::memory_order_relaxed) != c.seen_epoch) {
    return kAgain;
  }
  const std::uint64_t meta = place.meta.load(std::memory_order_relaxed);
  const std::uint64_t size = meta & 0xffff'ffffU;
  const std::uint64_t room = claim_units(size);
  if (size > capacity || size > kClaimQuick || meta != claim_meta(size, room, false)) return kAgain;
  const std::byte* const at = s_.data + (((PlaceWord::end(word) - room) * kClaimUnit) & s_.mask);
  Slot* const own = s_.own;
  const Event* const wakes = s_.wakes;
  const bool fences = s_.fences;
  if (size == 8) {
    copy_unclaimed(buffer, at, 8);
  } else {
    copy_unclaimed(buffer, at, size);
  }
  if (!place.word.compare_exchange_strong(word, PlaceWord::freed(word, index_), std::memory_order_acq_rel,
                                          std::memory_order_relaxed)) {
    return kAgain;
  }
  c.next = ticket + 1;
  own->bytes.store(bytes_ += size, std::memory_order_relaxed);
  own->count.store(++count_, std::memory_order_relaxed);
  if (__builtin_expect((ticket + 1) % kTellHead == 0, 0)) claims_tell_head();
  fence_own(fences);
  if (__builtin_expect(wakes->sleepers.load(std::memory_order_relaxed) != 0, 0)) wake(region_.shared().space);
  return static_cast<std::int64_t>(size);
}

}  // namespace mvm::ring
