// SPDX-License-Identifier: Apache-2.0
#include "claims.h"

#include <bit>

namespace mvm::ring {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// A count that its end did not come to publish: it said beforehand which place it was about to change, and
// what its count is then. The intent is taken back before the places change, so that whoever repeats this, or
// does it at the same time, never mistakes what we do to the place for what the end did.
void settle_count(const Region& region, std::uint32_t index, PlaceState before) {
  Slot& slot = region.slot(index);
  std::uint64_t intent = slot.progress.load(std::memory_order_acquire);
  const std::uint64_t number = intent >> kClaimIndexBits;
  const std::uint64_t at = intent & ((1U << kClaimIndexBits) - 1);
  std::uint64_t count = slot.count.load();
  if (number == count + 1 && at < region.geometry().cell_count) {
    const std::uint64_t word = region.places()[at].word.load(std::memory_order_acquire);
    const bool before_it = PlaceWord::state(word) == before && PlaceWord::owner(word) == index;
    if (!before_it && slot.progress.load(std::memory_order_acquire) == intent) {
      slot.count.compare_exchange_strong(count, number);
    }
  }
  slot.progress.compare_exchange_strong(intent, 0);
}

// An only producer's count is its next ticket.
void settle_only_producer(const Region& region) {
  const Places places(region);
  Slot& slot = region.slot(0);
  const std::uint64_t counted = slot.count.load();
  std::uint64_t count = counted;
  while (count - counted < places.count() &&
         places.passed_writing(places.at(count).word.load(std::memory_order_acquire), count)) {
    ++count;
  }
  std::uint64_t expected = counted;
  if (count != counted) slot.count.compare_exchange_strong(expected, count);
}

}  // namespace

Places::Places(const Region& region)
    : places_(region.places()),
      mask_(region.geometry().cell_count - 1),
      shift_(static_cast<unsigned>(std::countr_zero(region.geometry().cell_count))) {}

void settle_claims(const Region& region, std::uint32_t index) {
  const bool producer = index < region.spec().producers;
  if (producer && region.spec().producers == 1) return settle_only_producer(region);
  const PlaceState mine = producer ? kPlaceWriting : kPlaceHeld;
  settle_count(region, index, mine);
  for (std::uint32_t at = 0; at < region.geometry().cell_count; ++at) {
    std::atomic<std::uint64_t>& place = region.places()[at].word;
    std::uint64_t word = place.load(std::memory_order_acquire);
    if (PlaceWord::state(word) != mine || PlaceWord::owner(word) != index) continue;
    const std::uint64_t next =
        producer ? PlaceWord::freed(word, index) : PlaceWord::changed(word, kPlaceAgain, index);
    if (place.compare_exchange_strong(word, next) && !producer) {
      region.claim_table().redelivered.fetch_add(1, kRelaxed);
    }
  }
}

void settle_drain(const Region& region) {
  ClaimTable& table = region.claim_table();
  const auto place_of = [&](std::uint64_t at) -> std::atomic<std::uint64_t>& {
    return region.places()[at].word;
  };
  // Only managers change such places: a step that was announced was made if its place is another's now.
  const std::uint64_t intent = table.drain_intent.load(std::memory_order_acquire);
  const std::uint64_t intended = intent & ((1U << kClaimIndexBits) - 1);
  if (intent >> kClaimIndexBits == table.drained.load() + 1 && intended < region.geometry().cell_count &&
      PlaceWord::state(place_of(intended).load(std::memory_order_acquire)) != kPlaceDrained)
    table.drained.store(intent >> kClaimIndexBits);
  for (std::uint32_t at = 0; at < region.geometry().cell_count; ++at) {
    std::uint64_t word = place_of(at).load(std::memory_order_acquire);
    if (PlaceWord::state(word) != kPlaceDrained) continue;
    const std::uint64_t number = table.drained.load() + 1;
    table.drain_intent.store(at | number << kClaimIndexBits);
    if (place_of(at).compare_exchange_strong(word, PlaceWord::freed(word, PlaceWord::owner(word))))
      table.drained.store(number);
  }
  table.draining.store(0);
}

void finish_claims(const Region& region, std::uint32_t index) {
  settle_claims(region, index);
  region.slot(index).settled.store(1);
}

}  // namespace mvm::ring
