// SPDX-License-Identifier: Apache-2.0
// The steps of an end of a cell queue: each takes the lock, changes the books, and lets go. Long messages are
// copied with the lock released: their cell is reserved or taken meanwhile.
#include <algorithm>
#include <cstring>

#include "futex.h"
#include "mvm.h"
#include "stream.h"

namespace mvm::ring {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint64_t kCopyInside = 4096;  // up to here copying is cheaper than a second locking
constexpr std::int64_t kLeastLockWait = 20'000'000;

}  // namespace

bool End::cells_lock() {
  CellBook book(region_);
  return book.lock(index_, std::max(lock_until_, now_ns() + kLeastLockWait));
}

// With the lock held. Applies the rule of a full queue.
int End::cells_reserve(std::uint64_t size, std::uint32_t priority, std::uint32_t& cell) {
  CellBook book(region_);
  const Spec& spec = region_.spec();
  Slot& slot = own();
  if (book.broken()) return MVM_ECORRUPT;
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  const bool makes_room = spec.when_full == kDropOldest || spec.kind == kLatest;
  for (;;) {
    cell = book.allocate(size, index_);
    if (cell != kNone) return MVM_OK;
    if (book.broken()) return MVM_ECORRUPT;
    if (spec.ttl_ms != 0 && book.expire() != 0) continue;
    if (makes_room && book.drop_oldest(spec.kind == kPriority ? priority : kLevels - 1)) continue;
    if (book.broken()) return MVM_ECORRUPT;
    if (makes_room || spec.when_full == kDropNewest) {
      slot.dropped.store(slot.dropped.load(kRelaxed) + 1, kRelaxed);
      return MVM_DROPPED;
    }
    if (spec.when_full == kFail) {
      slot.refused.store(slot.refused.load(kRelaxed) + 1, kRelaxed);
      return MVM_FULL;
    }
    released_ = book.table().released.load(kRelaxed);
    if (spec.ttl_ms != 0) retry_at_ = now_ns() + static_cast<std::int64_t>(book.until_expiry()) * 1'000'000;
    return kAgain;
  }
}

int End::cells_put(const void* data, std::uint64_t size, std::uint32_t priority, std::uint64_t key) {
  if (!cells_lock()) return kAgain;
  CellBook book(region_);
  std::uint32_t cell = kNone;
  int result = cells_reserve(size, priority, cell);
  CellCopy copy;
  if (result == MVM_OK && !book.locate(cell, copy)) result = MVM_ECORRUPT;
  if (result != MVM_OK || size > kCopyInside) {
    book.unlock();
    if (result != MVM_OK) return result;
    std::memcpy(region_.data() + copy.offset, data, size);
    reserved_ = true;
    reserved_size_ = size;
    reserved_cell_ = cell;
    // The message is in place: a stopped holder of the lock delays it, but cannot undo it.
    while ((result = commit(size, priority, key)) == kAgain) {
    }
    return result;
  }
  if (size != 0) std::memcpy(region_.data() + copy.offset, data, size);
  book.make_ready(cell, size, region_.spec().kind == kPriority ? priority : 0, key, cells_sample());
  ++count_;
  count_message(size);
  book.unlock();
  return MVM_OK;
}

// Any number of samples are on their way at a time: each cell says itself since when it is there.
std::int64_t End::cells_take_sample() {
  const std::int64_t now = now_ns();
  sampler_.took(count_, now);
  return now;
}

// With the lock held, of a cell that was just freed. The low bits of the milliseconds are enough.
void End::cells_count_sample(const Cell& cell) const {
  const std::uint32_t flags = cell.flags.load(kRelaxed);
  const std::int64_t now = now_ns();
  const auto ms = static_cast<std::uint32_t>(now / 1'000'000) - cell.born_ms.load(kRelaxed);
  add_latency(region_.latencies(),
              std::int64_t{ms} * 1'000'000 + now % 1'000'000 - (flags >> kCellFractionAt));
}

void End::fill(View& view, std::uint32_t index, std::uint64_t offset, std::uint64_t size) const {
  const Cell& cell = region_.cell(index);
  view = View{};
  view.data = region_.data() + offset;
  view.size = size;
  view.total = size;
  view.key = cell.key.load(kRelaxed);
  view.priority = cell.priority.load(kRelaxed);
  view.redelivered = (cell.flags.load(kRelaxed) & kCellRedelivered) != 0;
  view.token = index;
}

// Takes the next message; with `copy_small` a short one is copied and released in the same breath (view.data
// is null then).
int End::cells_take(View& view, bool copy_small, void* buffer, std::uint64_t capacity) {
  if (!cells_lock()) return kAgain;
  CellBook book(region_);
  int result = MVM_OK;
  const std::uint64_t expired = book.table().expired.load(kRelaxed);
  const std::uint32_t index = book.first();
  const bool made_room = book.table().expired.load(kRelaxed) != expired;
  CellCopy copy;
  if (book.broken() || (index != kNone && !book.locate(index, copy))) {
    result = MVM_ECORRUPT;
  } else if (own().state.load(kRelaxed) != kAttached) {
    result = MVM_EOS;
  } else if (index == kNone) {
    result = other_side_result();
  } else {
    fill(view, index, copy.offset, copy.size);
    if (copy_small && copy.size > capacity) {
      result = MVM_TOOBIG;
      book.wake_consumer();  // it may fit another one's buffer
    } else if (!book.take(index, index_)) {
      result = MVM_ECORRUPT;
    } else if (copy_small && copy.size <= kCopyInside) {
      if (copy.size != 0) std::memcpy(buffer, view.data, copy.size);
      book.discard(index, index_);
      cells_left(region_.cell(index));
      ++count_;
      count_message(copy.size);
      view.data = nullptr;
    }
  }
  book.unlock();
  const bool took = result == MVM_OK && view.data == nullptr;
  if ((took || made_room) && region_.shared().space.sleepers.load() != 0) {
    wake(region_.shared().space);
  }
  return result;
}

int End::cells_release(std::uint64_t token) {
  while (!cells_lock()) {  // as in cells_put: only a stopped process delays this
  }
  CellBook book(region_);
  CellCopy copy;
  const bool ours = token < region_.geometry().cell_count &&
                    book.locate(static_cast<std::uint32_t>(token), copy) &&
                    book.discard(static_cast<std::uint32_t>(token), index_);
  if (ours) {
    cells_left(region_.cell(static_cast<std::uint32_t>(token)));
    ++count_;
    count_message(copy.size);
  }
  const bool bad = book.broken();
  book.unlock();
  if (bad) return MVM_ECORRUPT;
  if (!ours) return own().state.load() == kAttached ? MVM_EINVAL : MVM_EOS;
  if (region_.shared().space.sleepers.load() != 0) wake(region_.shared().space);
  return MVM_OK;
}

int End::get(void* buffer, std::uint64_t capacity, View& view) {
  if (region_.geometry().mode == kClaims) return claims_get(buffer, capacity, view);
  if (region_.geometry().mode == kCells) {
    const int result = cells_take(view, true, buffer, capacity);
    if (result != MVM_OK || view.data == nullptr) return result;
    std::memcpy(buffer, view.data, view.size);
    return cells_release(view.token);
  }
  if (const int result = stream_take(view, true); result != MVM_OK) return result;
  if (view.total > capacity) {
    stream_untake();
    return MVM_TOOBIG;
  }
  if (view.more || view.continuation || view.growing) return MVM_OK;
  if (view.size != 0) std::memcpy(buffer, view.data, view.size);
  return stream_release(view.token);
}

std::int64_t End::next_size() {
  View view;
  if (region_.geometry().mode == kStream) {
    const int result = stream_take(view, true);
    if (result == MVM_OK) stream_untake();
    return result == MVM_OK ? static_cast<std::int64_t>(view.total) : result;
  }
  if (region_.geometry().mode == kClaims) return claims_next_size();
  if (!cells_lock()) return kAgain;
  CellBook book(region_);
  CellCopy copy;
  std::int64_t result = kAgain;
  const std::uint32_t index = book.first();
  if (book.broken() || (index != kNone && !book.locate(index, copy))) {
    result = MVM_ECORRUPT;
  } else if (index != kNone) {
    result = static_cast<std::int64_t>(copy.size);
  } else {
    const std::uint32_t told = told_;
    result = other_side_result();
    told_ = told;  // only asked: the next take tells it
  }
  book.unlock();
  return result;
}

bool End::maybe() {
  const Shared& shared = region_.shared();
  if (!scanned_ || shared.epoch.load(std::memory_order_acquire) != s_.seen_epoch ||
      shared.broken.load(kRelaxed) != 0) {
    return true;
  }
  if (region_.geometry().mode == kClaims) return claims_maybe();
  if (region_.geometry().mode == kCells) {
    const CellTable& table = region_.cells();
    return side_ == Side::kConsumer ? table.ready.load(std::memory_order_acquire) != 0
                                    : table.released.load(std::memory_order_acquire) != released_ ||
                                          (region_.spec().ttl_ms != 0 && now_ns() >= retry_at_);
  }
  if (side_ == Side::kConsumer) {
    const std::uint64_t word = word_at(s_, s_.position + s_.held).load(std::memory_order_acquire);
    return word != 0 && (word & kWordGrowing) == 0;
  }
  const Slot& consumer = region_.slot(1);
  const std::uint64_t limit = std::min(region_.spec().bytes, s_.mask + 1 - 16);
  return s_.position + wanted_ - consumer.position.load(std::memory_order_acquire) <= limit &&
         s_.count - consumer.count.load(std::memory_order_acquire) < region_.spec().capacity;
}

bool End::ready() {
  if (side_ == Side::kConsumer) return next_size() != kAgain;
  if (other_side_result() != kAgain || region_.shared().broken.load(kRelaxed) != 0) return true;
  const Spec& spec = region_.spec();
  if (spec.when_full == kDropOldest || spec.when_full == kDropNewest || spec.kind == kLatest) return true;
  if (region_.geometry().mode == kStream) {
    wanted_ = 16;
    return stream_room(wanted_);
  }
  if (region_.geometry().mode == kClaims) {
    wanted_ = 2;
    return claims_maybe();
  }
  const CellTable& table = region_.cells();
  released_ = table.released.load();
  return table.ready.load() + table.reserved.load() < spec.capacity && table.used.load() < spec.bytes &&
         table.free_head.load() != kNone;
}

void End::pass_on() {
  if (side_ != Side::kConsumer || is_stream()) return;
  if (region_.geometry().mode == kClaims) {
    Found found;
    if (region_.shared().data.sleepers.load() != 0 && claims_find(found)) claims_wake_consumer();
    return;
  }
  if (region_.cells().ready.load() == 0 || region_.shared().data.sleepers.load() == 0) return;
  if (!cells_lock()) return;
  CellBook book(region_);
  book.wake_consumer();
  book.unlock();
}

}  // namespace mvm::ring
