// SPDX-License-Identifier: Apache-2.0
// The steps of a stream: one producer, one consumer, no lock. The producer alone writes the data, the
// consumer writes nothing but its own slot. A message exists from the one store of its word on, which comes
// last.
#include <algorithm>
#include <cstring>

#include "end.h"
#include "futex.h"
#include "mvm.h"

namespace mvm::ring {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr unsigned kPaddingAt = 60;
constexpr std::uint64_t kPaddingBit = std::uint64_t{1} << kPaddingAt;

std::uint64_t padded(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

std::atomic<std::uint64_t>& word_at(const Region& region, std::uint64_t position) {
  std::byte* at = region.data() + (position & (region.geometry().data_size - 1));
  return *reinterpret_cast<std::atomic<std::uint64_t>*>(at);
}

std::uint64_t size_of(std::uint64_t word) { return (word & 0xffff'ffffU) - 1; }
std::uint16_t number_of(std::uint64_t word) { return static_cast<std::uint16_t>(word >> 32); }

// A word is only believed where its size can be in this ring.
bool plausible(const Region& region, std::uint64_t word, std::uint64_t count) {
  return (word & 0xffff'ffffU) != 0 && size_of(word) <= region.spec().bytes / 2 + 8 &&
         number_of(word) == static_cast<std::uint16_t>(count) &&
         (word & ~(kWordKnown | 0xffff'ffff'ffffU)) == 0;
}

}  // namespace

int End::stream_attach(std::string& why) {
  const Slot& slot = own();
  const std::uint64_t ring = region_.geometry().data_size;
  position_ = slot.position.load();
  count_ = slot.count.load();
  bytes_ = slot.bytes.load();
  if (position_ % 8 != 0) {
    why = "the queue's positions are impossible";
    return broken();
  }
  if (side_ == Side::kConsumer) {
    // The one before may have died between publishing its position and its count.
    const std::uint64_t word = word_at(region_, position_).load(std::memory_order_acquire);
    if (word != 0 && number_of(word) == static_cast<std::uint16_t>(count_ + 1)) ++count_;
    if (word == 0 && region_.slot(0).count.load() == count_ + 1) ++count_;
    ahead_ = position_;
    count_ahead_ = count_;
    return MVM_OK;
  }
  // The producer before may have died between publishing a word and its position.
  for (std::uint64_t steps = 0; steps <= ring / 8; ++steps) {
    const std::uint64_t word = word_at(region_, position_).load(std::memory_order_acquire);
    seen_ = region_.slot(1).position.load(std::memory_order_acquire);
    if (position_ < seen_ || position_ - seen_ > ring) break;
    if (word == 0) {
      seen_count_ = region_.slot(1).count.load();
      return MVM_OK;
    }
    if (!plausible(region_, word, count_)) break;
    position_ += 8 + padded(size_of(word));
    if ((word & kWordMore) == 0) ++count_;
  }
  why = "the queue's positions are impossible";
  return broken();
}

bool End::stream_room(std::uint64_t need) {
  const Spec& spec = region_.spec();
  const std::uint64_t ring = region_.geometry().data_size;
  // 16 bytes are kept for the empty word behind, and for voiding fragments.
  const std::uint64_t limit = std::min(spec.bytes, ring - 16);
  if (position_ + need - seen_ <= limit && count_ - seen_count_ < spec.capacity) return true;
  const Slot& consumer = region_.slot(1);
  const std::uint64_t position = consumer.position.load(std::memory_order_acquire);
  const std::uint64_t count = consumer.count.load(std::memory_order_acquire);
  if (position < seen_ || position > position_ || position % 8 != 0 || count < seen_count_ ||
      count > count_) {
    broken();
    return false;
  }
  seen_ = position;
  seen_count_ = count;
  return position_ + need - seen_ <= limit && count_ - seen_count_ < spec.capacity;
}

int End::stream_full() {
  if (region_.shared().broken.load(kRelaxed) != 0) return MVM_ECORRUPT;
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  Slot& slot = own();
  switch (region_.spec().when_full) {
    case kDropNewest:
      slot.dropped.store(slot.dropped.load(kRelaxed) + 1, kRelaxed);
      return MVM_DROPPED;
    case kFail:
      slot.refused.store(slot.refused.load(kRelaxed) + 1, kRelaxed);
      return MVM_FULL;
    default:
      return kAgain;
  }
}

void End::stream_publish(std::uint64_t size, std::uint64_t flags, bool counts) {
  const std::uint64_t end = position_ + 8 + padded(size);
  word_at(region_, end).store(0, kRelaxed);
  const std::uint64_t number = static_cast<std::uint16_t>(count_);
  word_at(region_, position_).store((size + 1) | number << 32 | flags, std::memory_order_release);
  position_ = end;
  if (counts) ++count_;
  Slot& slot = own();
  slot.position.store(position_, kRelaxed);
  count_message(size);
  // Against a consumer that says it sleeps and then looks at the word: one of the two sees the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Event& event = region_.shared().data;
  if (event.sleepers.load(kRelaxed) != 0) {
    event.sleepers.store(0, kRelaxed);
    event.step.fetch_add(1);
    futex_wake(event.step, 1);
  }
}

int End::put(const void* data, std::uint64_t size, std::uint32_t priority, std::uint64_t key) {
  if (reserved_) return MVM_EINVAL;
  if (size > largest()) return MVM_TOOBIG;
  if (region_.geometry().mode == kCells) return cells_put(data, size, priority, key);
  wanted_ = 8 + padded(size);
  if (!stream_room(wanted_)) return stream_full();
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  std::byte* at = region_.data() + ((position_ + 8) & (region_.geometry().data_size - 1));
  if (size != 0) std::memcpy(at, data, size);
  stream_publish(size, 0, true);
  return MVM_OK;
}

int End::put_fragment(const void* data, std::uint64_t size, std::uint64_t total, bool continuation,
                      bool more) {
  if (reserved_ || region_.geometry().mode != kStream) return MVM_EINVAL;
  const std::uint64_t prefix = continuation ? 0 : 8;
  if (size > largest()) return MVM_TOOBIG;
  wanted_ = 8 + padded(prefix + size);
  if (!stream_room(wanted_)) return stream_full();
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  std::byte* at = region_.data() + ((position_ + 8) & (region_.geometry().data_size - 1));
  if (prefix != 0) std::memcpy(at, &total, 8);
  std::memcpy(at + prefix, data, size);
  stream_publish(prefix + size, (more ? kWordMore : 0) | (continuation ? kWordNext : kWordFirst), !more);
  return MVM_OK;
}

// The consumer counts nothing for it, and the next message reuses the number.
void End::put_abort() { stream_publish(0, kWordAbort | kWordNext, false); }

int End::stream_take(View& view) {
  std::uint64_t word = word_at(region_, ahead_).load(std::memory_order_acquire);
  if (word == 0) {
    const int gone = other_side_result();
    if (gone == kAgain) return kAgain;
    // What was written before the state changed is visible now.
    word = word_at(region_, ahead_).load(std::memory_order_acquire);
    if (word == 0) return gone;
  }
  if (!plausible(region_, word, count_ahead_)) return broken();
  const std::uint64_t size = size_of(word);
  view = View{};
  view.data = region_.data() + ((ahead_ + 8) & (region_.geometry().data_size - 1));
  view.size = size;
  view.total = size;
  view.more = (word & kWordMore) != 0;
  view.continuation = (word & kWordNext) != 0;
  view.aborted = (word & kWordAbort) != 0;
  if ((word & kWordFirst) != 0) {
    if (size < 8) return broken();
    std::memcpy(&view.total, view.data, 8);
    view.data += 8;
    view.size -= 8;
    if (view.total > kMaxMessage || view.total < view.size) return broken();
  }
  ahead_ += 8 + padded(size);
  const bool counts = !view.more && !view.aborted;
  if (counts) ++count_ahead_;
  // The end of it; in the lowest bit whether a message is complete with it; on top what was padding.
  view.token = ahead_ | (counts ? 1U : 0U) | (padded(size) - size) << kPaddingAt;
  return MVM_OK;
}

int End::stream_release(std::uint64_t token) {
  const std::uint64_t padding = token >> kPaddingAt;
  const std::uint64_t end = token & (kPaddingBit - 1) & ~std::uint64_t{7};
  if (end <= position_ || end > ahead_ || end - position_ - 8 < padding) return MVM_EINVAL;
  bytes_ += end - position_ - 8 - padding;
  position_ = end;
  if ((token & 1) != 0) ++count_;
  Slot& slot = own();
  slot.bytes.store(bytes_, kRelaxed);
  slot.position.store(position_, std::memory_order_release);
  slot.count.store(count_, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Event& event = region_.shared().space;
  if (event.sleepers.load(kRelaxed) != 0) {
    event.sleepers.store(0, kRelaxed);
    event.step.fetch_add(1);
    futex_wake(event.step, 1);
  }
  return MVM_OK;
}

void End::rewind() {
  ahead_ = position_;
  count_ahead_ = count_;
}

}  // namespace mvm::ring
