// SPDX-License-Identifier: Apache-2.0
#include "cells.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <vector>

#include "futex.h"

namespace mvm::ring {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::int64_t kLockSlice =
    10'000'000;  // how long a waiter sleeps before it asks whether the holder lives

std::uint64_t length_of(std::uint64_t size) {
  return (std::max<std::uint64_t>(size, 1) + kCellAlign - 1) / kCellAlign * kCellAlign;
}

constexpr std::int64_t kMillisecond = 1'000'000;

std::uint32_t now_ms() { return static_cast<std::uint32_t>(now_ns() / kMillisecond); }

template <class T>
void add(std::atomic<T>& counter, T amount) {  // under the lock: no other writer
  counter.store(static_cast<T>(counter.load(kRelaxed) + amount), kRelaxed);
}

}  // namespace

bool CellBook::lock(std::uint32_t me, std::int64_t until) {
  auto& word = table_->lock;
  const std::uint32_t mine = me + 1;
  std::uint32_t seen = 0;
  if (word.compare_exchange_strong(seen, mine, std::memory_order_acquire, kRelaxed)) return true;
  std::uint32_t wanted = 0;
  for (unsigned round = 0;; ++round) {
    seen = word.load(kRelaxed);
    const std::uint32_t holder = (seen & ~kLockWanted) - 1;
    if (seen == 0) {
      if (word.compare_exchange_weak(seen, mine | wanted, std::memory_order_acquire, kRelaxed)) return true;
      continue;
    }
    if (holder == me) {  // left by the process that had this slot before us
      if (word.compare_exchange_strong(seen, mine | kLockWanted, std::memory_order_acquire, kRelaxed)) {
        rebuild(me);
        return true;
      }
      continue;
    }
    if (round < 60) {
      pause_cpu();
      continue;
    }
    if (round < 120) {
      ::sched_yield();
      continue;
    }
    if ((seen & kLockWanted) == 0 && !word.compare_exchange_weak(seen, seen | kLockWanted, kRelaxed))
      continue;
    seen |= kLockWanted;
    wanted = kLockWanted;  // others may sleep behind us: our unlock must wake them
    if (futex_wait(word, seen, kLockSlice)) {
      if (now_ns() >= until) return false;
      continue;
    }
    const bool gone = holder > region_->slot_count() ||
                      (holder < region_->slot_count() && region_->slot(holder).state.load() == kDead) ||
                      !region_->claimed(holder);
    if (gone && word.compare_exchange_strong(seen, mine | kLockWanted, std::memory_order_acquire, kRelaxed)) {
      rebuild(holder);
      return true;
    }
    if (now_ns() >= until) return false;
  }
}

void CellBook::unlock() {
  if ((table_->lock.exchange(0, std::memory_order_release) & kLockWanted) != 0) futex_wake(table_->lock, 1);
}

bool CellBook::broken() const { return region_->shared().broken.load(kRelaxed) != 0; }
void CellBook::fail() { region_->shared().broken.store(1, kRelaxed); }

bool CellBook::locate(std::uint32_t index, CellCopy& copy) {
  if (!valid(index)) return fail(), false;
  const Cell& cell = region_->cell(index);
  copy.offset = cell.offset.load(kRelaxed);
  copy.size = cell.size.load(kRelaxed);
  const std::uint64_t room = region_->geometry().data_size;
  if (copy.offset % kCellAlign != 0 || copy.offset > room || copy.size > room ||
      length_of(copy.size) > room - copy.offset) {
    return fail(), false;
  }
  return true;
}

// Next fit in order of address: returns the offset of a hole and the cell below it, or ~0.
std::uint64_t CellBook::place(std::uint64_t length, std::uint32_t& below) {
  constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
  const std::uint64_t room = region_->geometry().data_size;
  const std::uint32_t lowest = table_->lowest.load(kRelaxed);
  std::uint32_t at = table_->rover.load(kRelaxed);
  if (lowest == kNone) {
    below = kNone;
    return length <= room ? 0 : kNowhere;
  }
  if (at == kNone) at = lowest;
  for (std::uint32_t steps = 0; steps <= count_; ++steps) {
    std::uint64_t begin = 0;
    CellCopy copy;
    if (at != kNone) {
      if (!locate(at, copy)) return kNowhere;
      begin = copy.offset + length_of(copy.size);
    }
    const std::uint32_t above = at == kNone ? lowest : region_->cell(at).above.load(kRelaxed);
    std::uint64_t end = room;
    if (above != kNone) {
      if (!locate(above, copy)) return kNowhere;
      end = copy.offset;
    }
    if (end < begin) return fail(), kNowhere;
    if (end - begin >= length) {
      below = at;
      return begin;
    }
    at = above;  // kNone past the highest: the hole below the lowest comes next
  }
  return kNowhere;
}

void CellBook::link_address(std::uint32_t index, std::uint32_t below) {
  Cell& cell = region_->cell(index);
  const std::uint32_t above =
      below == kNone ? table_->lowest.load(kRelaxed) : region_->cell(below).above.load(kRelaxed);
  cell.below.store(below, kRelaxed);
  cell.above.store(above, kRelaxed);
  if (below == kNone) {
    table_->lowest.store(index, kRelaxed);
  } else {
    region_->cell(below).above.store(index, kRelaxed);
  }
  if (valid(above)) region_->cell(above).below.store(index, kRelaxed);
  table_->rover.store(index, kRelaxed);
}

void CellBook::unlink_address(std::uint32_t index) {
  const Cell& cell = region_->cell(index);
  const std::uint32_t below = cell.below.load(kRelaxed);
  const std::uint32_t above = cell.above.load(kRelaxed);
  if ((below != kNone && !valid(below)) || (above != kNone && !valid(above))) return fail();
  if (below == kNone) {
    table_->lowest.store(above, kRelaxed);
  } else {
    region_->cell(below).above.store(above, kRelaxed);
  }
  if (above != kNone) region_->cell(above).below.store(below, kRelaxed);
  if (table_->rover.load(kRelaxed) == index) table_->rover.store(below, kRelaxed);
}

std::uint32_t CellBook::allocate(std::uint64_t size, std::uint32_t owner) {
  const Spec& spec = region_->spec();
  if (broken()) return kNone;
  const std::uint64_t counted = std::uint64_t{table_->ready.load(kRelaxed)} + table_->reserved.load(kRelaxed);
  const std::uint64_t used = table_->used.load(kRelaxed);
  if (counted >= spec.capacity || used > spec.bytes || size > spec.bytes - used) return kNone;
  const std::uint32_t index = table_->free_head.load(kRelaxed);
  if (index == kNone) return kNone;
  if (!valid(index) || region_->cell(index).state.load(kRelaxed) != kFree) return fail(), kNone;
  std::uint32_t below = kNone;
  const std::uint64_t offset = place(length_of(size), below);
  if (offset == ~std::uint64_t{0}) return kNone;
  Cell& cell = region_->cell(index);
  const std::uint32_t next = cell.next.load(kRelaxed);
  cell.offset.store(offset, kRelaxed);
  cell.size.store(size, kRelaxed);
  cell.flags.store(0, kRelaxed);
  cell.owner.store(owner, kRelaxed);
  cell.state.store(kReserved, std::memory_order_release);
  table_->free_head.store(next, kRelaxed);
  link_address(index, below);
  add(table_->reserved, 1U);
  add(table_->used, size);
  return index;
}

void CellBook::append(std::uint32_t index, std::uint32_t priority) {
  Level& level = table_->level[priority % kLevels];
  const std::uint32_t tail = level.tail.load(kRelaxed);
  region_->cell(index).next.store(kNone, kRelaxed);
  if (tail == kNone) {
    level.head.store(index, kRelaxed);
  } else if (valid(tail)) {
    region_->cell(tail).next.store(index, kRelaxed);
  } else {
    return fail();
  }
  level.tail.store(index, kRelaxed);
  auto& bits = table_->level_bits[priority % kLevels / 64];
  bits.store(bits.load(kRelaxed) | std::uint64_t{1} << (priority % 64), kRelaxed);
}

void CellBook::make_ready(std::uint32_t index, std::uint64_t size, std::uint32_t priority, std::uint64_t key,
                          std::int64_t sampled) {
  Cell& cell = region_->cell(index);
  const std::uint64_t room = cell.size.load(kRelaxed);
  const std::uint64_t number = table_->next_number.load(kRelaxed);
  if (size < room) add(table_->used, size - room);
  cell.size.store(size, kRelaxed);
  cell.number.store(number, kRelaxed);
  cell.priority.store(priority, kRelaxed);
  cell.key.store(key, kRelaxed);
  if (sampled != 0) {
    cell.born_ms.store(static_cast<std::uint32_t>(sampled / kMillisecond), kRelaxed);
    cell.flags.store(kCellSampled | static_cast<std::uint32_t>(sampled % kMillisecond) << kCellFractionAt,
                     kRelaxed);
  } else if (region_->spec().ttl_ms != 0) {
    cell.born_ms.store(now_ms(), kRelaxed);
  }
  cell.state.store(kReady, std::memory_order_release);
  table_->next_number.store(number + 1, kRelaxed);
  append(index, priority);
  add(table_->reserved, ~0U);
  add(table_->ready, 1U);
  add(table_->bytes_enqueued, size);
  wake_consumer();
}

void CellBook::wake_consumer() {
  Event& event = region_->shared().data;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (event.sleepers.load(kRelaxed) == 0 || table_->ready.load(kRelaxed) == 0) return;
  // Cleared first: whoever falls asleep from now on sets it again and looks at `ready` after that. The lock
  // is held, so no other message can slip in unseen before it is set again for those that sleep on.
  event.sleepers.store(0, kRelaxed);
  event.step.fetch_add(1);
  if (futex_wake(event.step, 1) > 0) event.sleepers.store(1);
}

std::uint32_t CellBook::first() {
  for (unsigned word = kLevels / 64; word-- > 0 && !broken();) {
    const std::uint64_t bits = table_->level_bits[word].load(kRelaxed);
    if (bits == 0) continue;
    const auto level = word * 64 + 63U - static_cast<unsigned>(std::countl_zero(bits));
    const std::uint32_t index = table_->level[level].head.load(kRelaxed);
    if (!valid(index) || region_->cell(index).state.load(kRelaxed) != kReady) return fail(), kNone;
    if (!too_old(index)) return index;
    expire_level(level);
    ++word;  // look at these levels again
  }
  return kNone;
}

void CellBook::remove_head(std::uint32_t level, std::uint32_t index) {
  Level& list = table_->level[level];
  const std::uint32_t next = region_->cell(index).next.load(kRelaxed);
  list.head.store(next, kRelaxed);
  if (next == kNone) {
    list.tail.store(kNone, kRelaxed);
    auto& bits = table_->level_bits[level / 64];
    bits.store(bits.load(kRelaxed) & ~(std::uint64_t{1} << (level % 64)), kRelaxed);
  }
  add(table_->ready, ~0U);
}

bool CellBook::too_old(std::uint32_t index) const {
  const std::uint64_t ttl = region_->spec().ttl_ms;
  return ttl != 0 && now_ms() - region_->cell(index).born_ms.load(kRelaxed) >= ttl;
}

// Within a level the oldest stand first.
std::uint32_t CellBook::expire_level(std::uint32_t level) {
  std::uint32_t dropped = 0;
  for (; !broken(); ++dropped) {
    const std::uint32_t index = table_->level[level].head.load(kRelaxed);
    if (index == kNone) break;
    if (!valid(index) || region_->cell(index).state.load(kRelaxed) != kReady) return fail(), dropped;
    if (!too_old(index)) break;
    remove_head(level, index);
    release_cell(index);
    add(table_->expired, std::uint64_t{1});
  }
  return dropped;
}

std::uint32_t CellBook::expire() {
  std::uint32_t dropped = 0;
  for (std::uint32_t level = 0; level < kLevels; ++level) {
    if (table_->level[level].head.load(kRelaxed) != kNone) dropped += expire_level(level);
  }
  return dropped;
}

std::uint64_t CellBook::until_expiry() const {
  std::uint64_t next = kMaxTtl;
  for (const Level& level : table_->level) {
    const std::uint32_t index = level.head.load(kRelaxed);
    if (!valid(index)) continue;
    const std::uint64_t age = now_ms() - region_->cell(index).born_ms.load(kRelaxed);
    next = std::min(next, region_->spec().ttl_ms > age ? region_->spec().ttl_ms - age : 0);
  }
  return next;
}

bool CellBook::take(std::uint32_t index, std::uint32_t owner) {
  Cell& cell = region_->cell(index);
  const std::uint32_t level = cell.priority.load(kRelaxed) % kLevels;
  if (table_->level[level].head.load(kRelaxed) != index) return fail(), false;
  cell.owner.store(owner, kRelaxed);
  cell.state.store(kTaken, std::memory_order_release);
  remove_head(level, index);
  add(table_->taken, 1U);
  return true;
}

// The cell's state is kFree from here on, whatever happens to us.
void CellBook::release_cell(std::uint32_t index) {
  Cell& cell = region_->cell(index);
  cell.state.store(kFree, std::memory_order_release);
  unlink_address(index);
  add(table_->used, ~cell.size.load(kRelaxed) + 1);
  cell.next.store(table_->free_head.load(kRelaxed), kRelaxed);
  table_->free_head.store(index, kRelaxed);
  add(table_->released, 1U);
}

bool CellBook::discard(std::uint32_t index, std::uint32_t owner) {
  if (!valid(index)) return false;
  Cell& cell = region_->cell(index);
  const std::uint32_t state = cell.state.load(kRelaxed);
  if ((state != kReserved && state != kTaken) || cell.owner.load(kRelaxed) != owner) return false;
  release_cell(index);
  if (state == kReserved) {
    add(table_->reserved, ~0U);
  } else {
    add(table_->taken, ~0U);
    add(table_->dequeued, std::uint64_t{1});
  }
  return true;
}

bool CellBook::drop_oldest(std::uint32_t priority) {
  for (unsigned word = 0; word < kLevels / 64; ++word) {
    const std::uint64_t bits = table_->level_bits[word].load(kRelaxed);
    if (bits == 0) continue;
    const auto level = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
    if (level > priority) return false;
    const std::uint32_t index = table_->level[level].head.load(kRelaxed);
    if (!valid(index) || region_->cell(index).state.load(kRelaxed) != kReady) return fail(), false;
    remove_head(level, index);
    release_cell(index);
    add(table_->dropped_oldest, std::uint64_t{1});
    return true;
  }
  return false;
}

// Said beforehand, so that it is counted once wherever we die.
bool CellBook::drain(std::uint32_t index) {
  if (!valid(index) || region_->cell(index).state.load(kRelaxed) != kReady) return false;
  const std::uint32_t level = region_->cell(index).priority.load(kRelaxed) % kLevels;
  if (table_->level[level].head.load(kRelaxed) != index) return fail(), false;
  const std::uint64_t count = table_->drained.load(kRelaxed) + 1;
  table_->drain_count.store(count, kRelaxed);
  table_->drain_cell.store(index + 1, std::memory_order_release);
  remove_head(level, index);
  release_cell(index);
  table_->drained.store(count, std::memory_order_release);
  table_->drain_cell.store(0, std::memory_order_release);
  return true;
}

// A message whose consumer died goes back to where its number puts it.
void CellBook::put_back(std::uint32_t index) {
  Cell& cell = region_->cell(index);
  const std::uint32_t priority = cell.priority.load(kRelaxed) % kLevels;
  const std::uint64_t number = cell.number.load(kRelaxed);
  cell.flags.store(cell.flags.load(kRelaxed) | kCellRedelivered, kRelaxed);
  cell.state.store(kReady, std::memory_order_release);
  Level& level = table_->level[priority];
  std::uint32_t before = kNone;
  std::uint32_t at = level.head.load(kRelaxed);
  for (std::uint32_t steps = 0; at != kNone && steps <= count_; ++steps) {
    if (!valid(at)) return fail();
    if (region_->cell(at).number.load(kRelaxed) > number) break;
    before = at;
    at = region_->cell(at).next.load(kRelaxed);
  }
  if (at == kNone) {
    append(index, priority);
  } else {
    cell.next.store(at, kRelaxed);
    (before == kNone ? level.head : region_->cell(before).next).store(index, kRelaxed);
  }
  add(table_->ready, 1U);
  add(table_->redelivered, std::uint64_t{1});
  wake_consumer();
}

void CellBook::reap(std::uint32_t owner) {
  for (std::uint32_t index = 0; index < count_ && !broken(); ++index) {
    Cell& cell = region_->cell(index);
    const std::uint32_t state = cell.state.load(kRelaxed);
    if (state == kFree || state == kReady || cell.owner.load(kRelaxed) != owner) continue;
    if (state == kReserved) {
      release_cell(index);
      add(table_->reserved, ~0U);
    } else {
      add(table_->taken, ~0U);
      put_back(index);
    }
  }
}

// A holder of the lock died anywhere inside. Only the cells' states count.
void CellBook::rebuild(std::uint32_t gone) {
  if (broken()) return;
  if (const std::uint32_t drained = table_->drain_cell.load(std::memory_order_acquire); drained != 0) {
    if (valid(drained - 1) && region_->cell(drained - 1).state.load(std::memory_order_acquire) == kFree)
      table_->drained.store(table_->drain_count.load(kRelaxed), kRelaxed);
    table_->drain_cell.store(0, kRelaxed);
  }
  std::vector<std::uint32_t> used;
  std::vector<std::uint32_t> ready;
  std::uint32_t free_head = kNone;
  std::uint32_t reserved = 0;
  std::uint32_t taken = 0;
  std::uint64_t bytes = 0;
  std::uint64_t next_number = table_->next_number.load(kRelaxed);
  for (std::uint32_t index = count_; index-- > 0;) {
    Cell& cell = region_->cell(index);
    std::uint32_t state = cell.state.load(std::memory_order_acquire);
    const std::uint32_t owner = cell.owner.load(kRelaxed);
    const bool lost =
        (state == kReserved || state == kTaken) &&
        (owner == gone || owner >= region_->slot_count() || region_->slot(owner).state.load() != kAttached);
    if (lost && state == kTaken) {
      cell.flags.store(cell.flags.load(kRelaxed) | kCellRedelivered, kRelaxed);
      add(table_->redelivered, std::uint64_t{1});
    }
    if (lost) {
      state = state == kTaken ? kReady : kFree;
      cell.state.store(state, std::memory_order_release);
    }
    if (state > kTaken) return fail();
    if (state == kFree) {
      cell.next.store(free_head, kRelaxed);
      free_head = index;
      continue;
    }
    CellCopy copy;
    if (!locate(index, copy)) return;
    used.push_back(index);
    bytes += copy.size;
    if (state == kReserved) ++reserved;
    if (state == kTaken) ++taken;
    if (state == kReady) ready.push_back(index);
    if (state != kReserved) next_number = std::max(next_number, cell.number.load(kRelaxed) + 1);
  }
  std::sort(used.begin(), used.end(), [&](std::uint32_t a, std::uint32_t b) {
    return region_->cell(a).offset.load(kRelaxed) < region_->cell(b).offset.load(kRelaxed);
  });
  table_->lowest.store(kNone, kRelaxed);
  std::uint32_t below = kNone;
  std::uint64_t end = 0;
  for (const std::uint32_t index : used) {
    CellCopy copy;
    if (!locate(index, copy) || copy.offset < end) return fail();
    end = copy.offset + length_of(copy.size);
    region_->cell(index).above.store(kNone, kRelaxed);
    link_address(index, below);
    below = index;
  }
  table_->rover.store(below, kRelaxed);
  for (auto& level : table_->level) {
    level.head.store(kNone, kRelaxed);
    level.tail.store(kNone, kRelaxed);
  }
  for (auto& bits : table_->level_bits) bits.store(0, kRelaxed);
  std::sort(ready.begin(), ready.end(), [&](std::uint32_t a, std::uint32_t b) {
    return region_->cell(a).number.load(kRelaxed) < region_->cell(b).number.load(kRelaxed);
  });
  for (const std::uint32_t index : ready)
    append(index, region_->cell(index).priority.load(kRelaxed) % kLevels);
  table_->free_head.store(free_head, kRelaxed);
  table_->ready.store(static_cast<std::uint32_t>(ready.size()), kRelaxed);
  table_->reserved.store(reserved, kRelaxed);
  table_->taken.store(taken, kRelaxed);
  table_->used.store(bytes, kRelaxed);
  table_->next_number.store(next_number, kRelaxed);
  table_->dequeued.store(next_number - table_->dropped_oldest.load(kRelaxed) -
                             table_->expired.load(kRelaxed) - table_->drained.load(kRelaxed) - ready.size() -
                             taken,
                         kRelaxed);
  add(table_->released, 1U);
  // The dead one may have been about to wake somebody.
  for (Event* event : {&region_->shared().data, &region_->shared().space}) {
    event->sleepers.store(0);
    event->step.fetch_add(1);
    futex_wake(event->step, INT_MAX);
  }
}

}  // namespace mvm::ring
