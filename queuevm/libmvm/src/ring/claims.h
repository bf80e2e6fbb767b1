// SPDX-License-Identifier: Apache-2.0
#pragma once
// The places of a claim queue: what their words say, and what becomes of those whose owner died. The word of
// a place decides alone whose it is and changes by compare and swap; all else are hints.
// docs/formats/ring.md, "Claims".

#include "region.h"

namespace mvm::ring {

inline constexpr unsigned kClaimEndBits = 36;
inline constexpr unsigned kClaimOwnerBits = 13;
inline constexpr unsigned kClaimStateBits = 3;
inline constexpr unsigned kClaimLapBits = 64 - kClaimEndBits - kClaimOwnerBits - kClaimStateBits;
inline constexpr std::uint64_t kClaimEndMask = (std::uint64_t{1} << kClaimEndBits) - 1;
inline constexpr std::uint64_t kClaimUnit = 8;
inline constexpr std::uint64_t kClaimKeyed = std::uint64_t{1} << 61;
inline constexpr std::uint64_t kClaimSampled = std::uint64_t{1} << 62;
inline constexpr unsigned kClaimIndexBits = 18;
static_assert(2 * kMaxCells + 2 * kMaxSlots <= std::uint64_t{1} << kClaimIndexBits);
static_assert(2 * kMaxSlots <= 1U << kClaimOwnerBits);

/// A place's word. A message's number, its ticket, gives the place (low bits) and the round (the rest).
struct PlaceWord {
  static std::uint64_t make(std::uint64_t lap, PlaceState state, std::uint32_t owner, std::uint64_t end) {
    return lap << (64 - kClaimLapBits) | std::uint64_t{state} << (kClaimEndBits + kClaimOwnerBits) |
           std::uint64_t{owner} << kClaimEndBits | (end & kClaimEndMask);
  }
  static std::uint32_t state(std::uint64_t word) {
    return static_cast<std::uint32_t>(word >> (kClaimEndBits + kClaimOwnerBits)) &
           ((1U << kClaimStateBits) - 1);
  }
  static std::uint32_t owner(std::uint64_t word) {
    return static_cast<std::uint32_t>(word >> kClaimEndBits) & ((1U << kClaimOwnerBits) - 1);
  }
  static std::uint64_t end(std::uint64_t word) { return word & kClaimEndMask; }
  static std::uint64_t lap(std::uint64_t word) { return word >> (64 - kClaimLapBits); }
  /// The same place in another state.
  static std::uint64_t changed(std::uint64_t word, PlaceState state, std::uint32_t owner) {
    return make(lap(word), state, owner, end(word));
  }
  /// Free for the next round.
  static std::uint64_t freed(std::uint64_t word, std::uint32_t owner) {
    return make(lap(word) + 1, kPlaceFree, owner, end(word));
  }
};

/// What follows from the number of places.
class Places {
 public:
  Places() = default;
  explicit Places(const Region& region);
  [[nodiscard]] Place& at(std::uint64_t ticket) const { return places_[ticket & mask_]; }
  [[nodiscard]] std::uint64_t count() const { return mask_ + 1; }
  [[nodiscard]] std::uint64_t index(std::uint64_t ticket) const { return ticket & mask_; }
  [[nodiscard]] std::uint64_t lap(std::uint64_t ticket) const {
    return ticket >> shift_ & ((1U << kClaimLapBits) - 1);
  }
  /// By how many rounds a word is ahead of a ticket. Wrong where the ticket lies more than half of all laps
  /// back: who finds nothing compares it with the hints.
  [[nodiscard]] int ahead(std::uint64_t word, std::uint64_t ticket) const {
    const auto difference = static_cast<std::uint32_t>(PlaceWord::lap(word) - lap(ticket))
                            << (32 - kClaimLapBits);
    return static_cast<std::int32_t>(difference) >> (32 - kClaimLapBits);
  }
  /// True where this ticket's message, if there is one, is published: ready, taken or long gone.
  [[nodiscard]] bool passed_writing(std::uint64_t word, std::uint64_t ticket) const {
    const int laps = ahead(word, ticket);
    return laps > 0 || (laps == 0 && PlaceWord::state(word) > kPlaceWriting);
  }

 private:
  Place* places_ = nullptr;
  std::uint64_t mask_ = 0;
  unsigned shift_ = 0;
};

/// Sets right what a closed or vacated end had under way: its count, the place it was writing (void), the
/// messages it held (ready again, marked). Any number of times, by any number of processes at once, however
/// often one of them dies of it; not while its process may still use the end, unless the slot says that it is
/// closed.
void settle_claims(const Region& region, std::uint32_t index);
/// Gives the places back that a manager had taken, and counts their messages as drained: his own, or those
/// of one that died. Only by the queue's manager.
void settle_drain(const Region& region);
/// The same for an end whose slot says that it is closed, and notes that it was done.
void finish_claims(const Region& region, std::uint32_t index);

}  // namespace mvm::ring
