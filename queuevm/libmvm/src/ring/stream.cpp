// SPDX-License-Identifier: Apache-2.0
// The steps of a stream: one producer, one consumer, no lock. The producer alone writes the data, the
// consumer writes nothing but its own slot. A message exists from the one store of its word on, which comes
// last.
#include "stream.h"

#include <algorithm>

#include "futex.h"
#include "mvm.h"

namespace mvm::ring {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr unsigned kPaddingAt = 60;
constexpr std::uint64_t kPaddingBit = std::uint64_t{1} << kPaddingAt;

std::uint64_t size_of(std::uint64_t word) { return (word & kWordSize) - 1; }
std::uint16_t number_of(std::uint64_t word) { return static_cast<std::uint16_t>(word >> 32); }

// A word is only believed where its size can be in this ring.
bool plausible(const Region& region, std::uint64_t word, std::uint64_t count) {
  const std::uint64_t flags = word >> 48 << 48;
  return (word & kWordSize) != 0 && size_of(word) <= region.spec().bytes / 2 + 8 &&
         number_of(word) == static_cast<std::uint16_t>(count) && (flags & ~kWordKnown) == 0 &&
         ((flags & kWordGrowing) == 0 || flags == kWordGrowing);
}

}  // namespace

// Everything the short way needs, from the region and the positions.
void End::stream_settle() {
  const Spec& spec = region_.spec();
  const bool producer = side_ == Side::kProducer;
  s_.data = region_.data();
  s_.mask = region_.geometry().data_size - 1;
  s_.own = &own();
  s_.wakes = producer ? &region_.shared().data : &region_.shared().space;
  s_.epoch = &region_.shared().epoch;
  s_.most = producer ? std::min(kGrowAbove, spec.bytes / 2) : spec.bytes / 2;
  s_.fences = true;  // until the peer's slot was read
}

int End::stream_attach(std::string& why) {
  const Slot& slot = own();
  const std::uint64_t ring = region_.geometry().data_size;
  stream_settle();
  s_.position = slot.position.load();
  s_.count = slot.count.load();
  bytes_ = slot.bytes.load();
  if (s_.position % 8 != 0) {
    why = "the queue's positions are impossible";
    return broken();
  }
  // The one before may have died between publishing its count and its position: the count is ahead then, and
  // the word at the position knows better.
  const std::uint64_t first = word_at(s_, s_.position).load(std::memory_order_acquire);
  if (first != 0)
    s_.count -= static_cast<std::uint16_t>(static_cast<std::uint16_t>(s_.count) - number_of(first));
  if (side_ == Side::kConsumer) return MVM_OK;
  // The producer before may have died between publishing words and its position; some may be consumed
  // already.
  for (std::uint64_t steps = 0; steps <= ring / 8; ++steps) {
    std::atomic<std::uint64_t>& at = word_at(s_, s_.position);
    std::uint64_t word = at.load(std::memory_order_acquire);
    if (word == 0) {
      seen_ = region_.slot(1).position.load(std::memory_order_acquire);
      seen_count_ = region_.slot(1).count.load();
      if (s_.position < seen_ || s_.position - seen_ > ring) break;
      Slot& mine = own();
      mine.bytes.store(bytes_);
      mine.count.store(s_.count);
      mine.position.store(s_.position);
      sampler_.begin(s_.count);
      return MVM_OK;
    }
    word &= ~kWordDrained;
    if (!plausible(region_, word, s_.count)) break;
    if ((word & kWordGrowing) != 0) {  // nobody will finish it
      word = (word & ~kWordGrowing) | kWordAbort | kWordNext;
      at.store(word, std::memory_order_release);
      stream_wake();
    }
    const std::uint64_t length = padded(size_of(word));
    s_.position += 8 + length;
    const bool counts = (word & (kWordMore | kWordAbort)) == 0;
    bytes_ += length - size_of(word) + (counts ? 0 : kStreamOverhead);
    if (counts) ++s_.count;
  }
  why = "the queue's positions are impossible";
  return broken();
}

bool End::stream_fits(std::uint64_t need) {
  // 16 bytes are kept for the empty word behind, and for voiding fragments.
  const std::uint64_t limit = std::min(region_.spec().bytes, s_.mask + 1 - 16);
  const bool fits = s_.position + need - seen_ <= limit && s_.count - seen_count_ < region_.spec().capacity;
  s_.room_until = reserved_ ? 0 : seen_ + limit;
  s_.count_until = std::min(seen_count_ + region_.spec().capacity, sampler_.next());
  return fits;
}

bool End::stream_room(std::uint64_t need) {
  if (s_.room_until != 0 && stream_fits(need)) return true;
  const Slot& consumer = region_.slot(1);
  const std::uint64_t position = consumer.position.load(std::memory_order_acquire);
  const std::uint64_t count = consumer.count.load(std::memory_order_acquire);
  if (position < seen_ || position > s_.position || position % 8 != 0 || count < seen_count_ ||
      count > s_.count) {
    broken();
    return false;
  }
  seen_ = position;
  seen_count_ = count;
  return stream_fits(need);
}

// Whoever sleeps on the other side, once.
void End::stream_wake() {
  if (side_ == Side::kProducer) {
    sampler_.slow(s_.count);
    s_.count_until = std::min(s_.count_until, sampler_.next());
  }
  s_.wakes->sleepers.store(0, kRelaxed);
  s_.wakes->step.fetch_add(1);
  futex_wake(s_.wakes->step, 1);
}

// The last sample has left where the consumer has counted it.
bool End::stream_sample() {
  const std::uint64_t last = own().sample.load(kRelaxed);
  const bool taken =
      sample(s_.count, s_.count, region_.slot(1).count.load(std::memory_order_acquire) >= last);
  s_.count_until = std::min(seen_count_ + region_.spec().capacity, sampler_.next());
  return taken;
}

void End::stream_publish(std::uint64_t size, std::uint64_t flags, bool counts) {
  const std::uint64_t length = padded(size);
  const std::uint64_t end = s_.position + 8 + length;
  if (counts && s_.count >= sampler_.next() && stream_sample()) flags |= kWordSampled;
  word_at(s_, end).store(0, kRelaxed);
  word_at(s_, s_.position).store((size + 1) | (s_.count & 0xffffU) << 32 | flags, std::memory_order_release);
  s_.position = end;
  if (counts) ++s_.count;
  bytes_ += length - size + (counts ? 0 : kStreamOverhead);
  Slot& slot = own();
  slot.bytes.store(bytes_, kRelaxed);
  slot.count.store(s_.count, kRelaxed);
  slot.position.store(end, std::memory_order_release);
  // Against a consumer that says it sleeps and then looks at the word: one of the two sees the other.
  fence_own(s_.fences);
  if (s_.wakes->sleepers.load(kRelaxed) != 0) stream_wake();
}

// A longer message: its word is there from the beginning, and `progress` follows the copying.
void End::stream_grow(const void* data, std::uint64_t size) {
  const auto* from = static_cast<const std::byte*>(data);
  std::byte* to = stream_place();
  Slot& slot = own();
  const std::uint64_t begin = s_.position + 8;
  word_at(s_, s_.position + 8 + padded(size)).store(0, kRelaxed);
  slot.progress.store(begin, kRelaxed);
  word_at(s_, s_.position)
      .store((size + 1) | (s_.count & 0xffffU) << 32 | kWordGrowing, std::memory_order_release);
  std::uint64_t done = 0;
  for (; size - done > kGrowBy; done += kGrowBy) {
    std::memcpy(to + done, from + done, kGrowBy);
    slot.progress.store(begin + done + kGrowBy, std::memory_order_release);
    fence_own(s_.fences);
    if (s_.wakes->sleepers.load(kRelaxed) != 0) stream_wake();
  }
  std::memcpy(to + done, from + done, size - done);
  stream_publish(size, 0, true);
}

int End::put(const void* data, std::uint64_t size, std::uint32_t priority, std::uint64_t key) {
  if (reserved_) return MVM_EINVAL;
  if (size > largest()) return MVM_TOOBIG;
  if (region_.geometry().mode == kCells) return cells_put(data, size, priority, key);
  if (region_.geometry().mode == kClaims) return claims_put(data, size, key);
  wanted_ = 8 + padded(size);
  if (!stream_room(wanted_)) return full_result();
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  if (size > kGrowAbove) {
    stream_grow(data, size);
    return MVM_OK;
  }
  copy_message(stream_place(), data, size);
  stream_publish(size, 0, true);
  return MVM_OK;
}

int End::put_fragment(const void* data, std::uint64_t size, std::uint64_t total, bool continuation,
                      bool more) {
  if (reserved_ || region_.geometry().mode != kStream) return MVM_EINVAL;
  const std::uint64_t prefix = continuation ? 0 : 8;
  if (size > largest()) return MVM_TOOBIG;
  wanted_ = 8 + padded(prefix + size);
  if (!stream_room(wanted_)) return full_result();
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  std::byte* at = stream_place();
  if (prefix != 0) std::memcpy(at, &total, 8);
  std::memcpy(at + prefix, data, size);
  stream_publish(prefix + size, (more ? kWordMore : 0) | (continuation ? kWordNext : kWordFirst), !more);
  return MVM_OK;
}

// The consumer counts nothing for it, and the next message reuses the number.
void End::put_abort() { stream_publish(0, kWordAbort | kWordNext, false); }

// Nothing new is put while a manager marks what is there: he could not tell a word from what is written over
// it. If he died of it, the claim that he holds tells.
void End::stream_gate() const {
  std::atomic<std::uint64_t>& gate = region_.shared().drain.gate;
  for (unsigned round = 1;; ++round) {
    std::uint64_t turn = gate.load(std::memory_order_acquire);
    if (turn == 0) return;
    if (round % 64 == 0 && !region_.claimed(region_.slot_count())) gate.compare_exchange_strong(turn, 0);
    ::sched_yield();
  }
}

// Whether a marked word is of a message that was drained. Who meets the first mark before the manager has
// decided does so for him; but what is begun is ours.
bool End::stream_drained(std::uint64_t word, std::uint64_t count) const {
  Drain& drain = region_.shared().drain;
  DrainRecord& record = drain.record[drain.current.load(std::memory_order_acquire) & 1U];
  std::uint64_t begin = kUndecided;
  const std::uint64_t mine = (word & kWordNext) != 0 ? count + 1 : count;
  if (record.begin.compare_exchange_strong(begin, mine)) begin = mine;
  return count >= begin && count < record.end_number.load(std::memory_order_acquire);
}

// Passes over what was drained. False where the record is impossible.
bool End::stream_skip(std::uint64_t ahead, std::uint64_t count) {
  Drain& drain = region_.shared().drain;
  DrainRecord& record = drain.record[drain.current.load(std::memory_order_acquire) & 1U];
  const std::uint64_t end = record.end.load(std::memory_order_relaxed);
  const std::uint64_t number = record.end_number.load(std::memory_order_relaxed);
  if (end <= ahead || end - ahead > s_.mask + 1 || end % 8 != 0 || number - count > kMostDrained)
    return false;
  std::uint64_t overhead = 0;
  std::uint64_t counted = 0;
  for (std::uint64_t at = ahead; at != end;) {
    const std::uint64_t word = word_at(s_, at).load(std::memory_order_acquire) & ~kWordDrained;
    if (!plausible(region_, word, count + counted) || at + 8 + padded(size_of(word)) > end) return false;
    const bool counts = (word & (kWordMore | kWordAbort)) == 0;
    overhead += padded(size_of(word)) - size_of(word) + (counts ? 0 : kStreamOverhead);
    counted += counts ? 1 : 0;
    at += 8 + padded(size_of(word));
  }
  if (counted != number - count) return false;
  record.bytes.store(end - ahead - overhead - counted * kStreamOverhead, std::memory_order_relaxed);
  gap_at_ = ahead;
  gap_length_ = end - ahead;
  gap_count_ = counted;
  gap_overhead_ = overhead;
  s_.held += gap_length_;
  count_held_ += gap_count_;
  if (ahead == s_.position) {
    stream_close_gap();
    stream_publish_released();
  }
  return true;
}

void End::stream_close_gap() {
  s_.held -= gap_length_;
  s_.position += gap_length_;
  s_.count += gap_count_;
  count_held_ -= gap_count_;
  bytes_ += gap_overhead_;
  gap_length_ = 0;
}

// As if the last take had not been.
void End::stream_untake() {
  s_.held -= last_length_;
  if (last_counts_) --count_held_;
}

int End::stream_take(View& view, bool growing_too) {
  const std::uint64_t ahead = s_.position + s_.held;
  const std::uint64_t count = s_.count + count_held_;
  std::uint64_t word = word_at(s_, ahead).load(std::memory_order_acquire);
  if (word == 0) {
    const int gone = other_side_result();
    if (gone == kAgain) return kAgain;
    // What was written before the state changed is visible now.
    word = word_at(s_, ahead).load(std::memory_order_acquire);
    if (word == 0) return gone;
  }
  const bool marked = (word & kWordDrained) != 0;
  word &= ~kWordDrained;
  if (!plausible(region_, word, count)) return broken();
  if (marked && stream_drained(word, count))
    return stream_skip(ahead, count) ? stream_take(view, growing_too) : broken();
  if ((word & kWordGrowing) != 0) {
    if (const int gone = other_side_result(); gone != kAgain) {
      word = word_at(s_, ahead).load(std::memory_order_acquire);
      if ((word & kWordGrowing) != 0) return gone;  // it will never be whole
      return stream_take(view, growing_too);
    }
    if (!growing_too) return kAgain;
  }
  const std::uint64_t size = size_of(word);
  view = View{};
  view.data = s_.data + ((ahead + 8) & s_.mask);
  view.size = size;
  view.total = size;
  view.more = (word & kWordMore) != 0;
  view.continuation = (word & kWordNext) != 0;
  view.aborted = (word & kWordAbort) != 0;
  view.growing = (word & kWordGrowing) != 0;
  if ((word & kWordFirst) != 0) {
    if (size < 8) return broken();
    std::memcpy(&view.total, view.data, 8);
    view.data += 8;
    view.size -= 8;
    if (view.total > kMaxMessage || view.total < view.size) return broken();
  }
  const bool counts = !view.more && !view.aborted;
  last_length_ = 8 + padded(size);
  last_counts_ = counts;
  s_.held += last_length_;
  if (counts) ++count_held_;
  // Against a manager that marks the word and then looks how far we have come: one of the two sees the other.
  own().progress.store(s_.position + s_.held, kRelaxed);
  fence_own(s_.fences);
  if (!marked && (word_at(s_, ahead).load(kRelaxed) & kWordDrained) != 0) {
    stream_untake();
    return stream_take(view, growing_too);
  }
  // The end of it; in the lowest bit whether a message is complete with it; on top what was padding.
  view.token = (s_.position + s_.held) | (counts ? 1U : 0U) | (padded(size) - size) << kPaddingAt;
  if ((word & kWordSampled) != 0) sample_taken(0, count, view.token);
  return MVM_OK;
}

int End::stream_release(std::uint64_t token) {
  const std::uint64_t padding = token >> kPaddingAt;
  const std::uint64_t end = token & (kPaddingBit - 1) & ~std::uint64_t{7};
  if (end <= s_.position || end > s_.position + s_.held || end - s_.position - 8 < padding) return MVM_EINVAL;
  const bool counts = (token & 1) != 0;
  sample_released(token);
  s_.held -= end - s_.position;
  s_.position = end;
  if (counts) ++s_.count, --count_held_;
  bytes_ += padding + (counts ? 0 : kStreamOverhead);
  if (gap_length_ != 0 && gap_at_ == s_.position) stream_close_gap();
  stream_publish_released();
  return MVM_OK;
}

void End::stream_publish_released() {
  Slot& slot = own();
  slot.bytes.store(bytes_, kRelaxed);
  slot.count.store(s_.count, std::memory_order_release);
  slot.position.store(s_.position, std::memory_order_release);
  fence_own(s_.fences);
  if (s_.wakes->sleepers.load(kRelaxed) != 0) stream_wake();
}

bool End::quick_backlog(int messages) const {
  std::uint64_t at = s_.position;
  for (int i = 0; i < messages; ++i) {
    const std::uint64_t word = word_at(s_, at).load(std::memory_order_acquire);
    if (word == 0 || size_of(word) > s_.most) return false;
    at += 8 + padded(size_of(word));
  }
  return true;
}

int End::get_grown(const View& view, void* buffer, std::uint64_t& done) {
  const std::uint64_t end = view.token & (kPaddingBit - 1) & ~std::uint64_t{7};
  const std::uint64_t at = end - 8 - padded(view.size);
  for (;;) {
    const std::uint64_t word = word_at(s_, at).load(std::memory_order_acquire);
    if ((word & kWordAbort) != 0) {
      --count_held_;
      const std::uint64_t length = padded(view.size) - view.size;
      stream_release(end | length << kPaddingAt);
      return kVoided;
    }
    const bool whole = (word & kWordGrowing) == 0;
    // Only the bytes are believed to be good or not by what the producer says here, never where they lie.
    std::uint64_t there = view.size;
    if (!whole) {
      const std::uint64_t progress = region_.slot(0).progress.load(std::memory_order_acquire);
      there = progress < at + 8 || progress - at - 8 >= view.size ? 0 : progress - at - 8;
    }
    if (there > done) {
      std::memcpy(static_cast<std::byte*>(buffer) + done, view.data + done, there - done);
      done = there;
      continue;
    }
    if (whole) {
      if ((word & kWordSampled) != 0) sample_taken(0, s_.count + count_held_ - 1, view.token);
      return stream_release(view.token);
    }
    awaited_ = at + 8 + done;
    return kAgain;
  }
}

bool End::grown() const {
  const std::uint64_t word = word_at(s_, s_.position).load(std::memory_order_acquire);
  return (word & kWordGrowing) == 0 || region_.slot(0).progress.load(std::memory_order_acquire) != awaited_ ||
         region_.shared().epoch.load(std::memory_order_acquire) != s_.seen_epoch;
}

void End::rewind() {
  s_.held = 0;
  count_held_ = 0;
  gap_length_ = 0;
}

}  // namespace mvm::ring
