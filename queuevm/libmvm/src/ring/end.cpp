// SPDX-License-Identifier: Apache-2.0
#include "end.h"

#include <algorithm>
#include <climits>

#include "futex.h"
#include "mvm.h"

namespace mvm::ring {

int End::attach(Region&& region, Side side, std::uint32_t slot, bool supervised, std::string& why) {
  const std::uint32_t slots = side == Side::kProducer ? region.spec().producers : region.spec().consumers;
  if (slot >= slots) {
    why = "the queue has no such slot";
    return MVM_EINVAL;
  }
  const std::uint32_t index = side == Side::kProducer ? slot : region.spec().producers + slot;
  if (!region.claim(index)) {
    why = "another process holds this end of the queue";
    return MVM_EBUSY;
  }
  Slot& own_slot = region.slot(index);
  std::uint32_t state = own_slot.state.load();
  const bool vacated = state == kAttached;  // its process is gone, and nobody has noticed yet
  if (state != kAbsent && state != kAttached) {
    region.unclaim(index);
    why = "this end of the queue was closed before";
    return MVM_EBUSY;
  }
  own_slot.supervised.store(supervised ? 1 : 0);
  own_slot.fences.store(can_fence_peers() ? 0 : 1);
  if (!vacated && !own_slot.state.compare_exchange_strong(state, kAttached)) {
    region.unclaim(index);
    why = "this end of the queue was closed before";
    return MVM_EBUSY;
  }
  if (!can_fence_peers()) region.shared().epoch.fetch_add(1);  // peers look at the slots again, and fence
  region_ = std::move(region);
  side_ = side;
  index_ = index;
  suspects_.assign(region_.slot_count(), 0);
  if (region_.geometry().mode == kStream) return stream_attach(why);
  if (region_.geometry().mode == kClaims) {
    claims_attach();
    if (vacated) tell();  // what the one before held stands there again
    return MVM_OK;
  }
  if (vacated) {
    CellBook book(region_);
    if (!book.lock(index_, now_ns() + 1'000'000'000)) {
      why = "the queue's lock is held by a stopped process";
      return MVM_EBUSY;
    }
    book.reap(index_);
    book.unlock();
  }
  count_ = own().count.load();
  bytes_ = own().bytes.load();
  sampler_.begin(count_);
  return MVM_OK;
}

void End::close(SlotState how) {
  if (!attached() || own().state.load() != kAttached) return;
  if (region_.geometry().mode == kCells) {
    CellBook book(region_);
    // If the lock cannot be had, the slot's state makes the next rebuild free what we held.
    if (book.lock(index_, now_ns() + 1'000'000'000)) {
      book.reap(index_);
      book.unlock();
    }
  }
  reserved_ = false;
  s_.room_until = 0;
  std::uint32_t state = kAttached;
  if (!own().state.compare_exchange_strong(state, how)) return;
  if (region_.geometry().mode == kClaims) finish_claims(region_, index_);
  tell();
}

// Everybody looks at the ends' states again.
void End::tell() const {
  region_.shared().epoch.fetch_add(1);
  wake(region_.shared().data);
  wake(region_.shared().space);
}

// Everybody who may sleep there: used where a state changed.
void End::wake(Event& event) const {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  event.sleepers.store(0);
  event.step.fetch_add(1);
  futex_wake(event.step, INT_MAX);
}

// What the states of the other side mean to a caller that finds nothing to do: kAgain while somebody may
// come.
int End::other_side_result() {
  const std::uint32_t epoch = region_.shared().epoch.load(std::memory_order_acquire);
  if (!scanned_ || epoch != s_.seen_epoch) {
    if (side_ == Side::kProducer && is_stream()) stream_gate();
    const Spec& spec = region_.spec();
    const std::uint32_t begin = side_ == Side::kProducer ? spec.producers : 0;
    const std::uint32_t end = side_ == Side::kProducer ? spec.producers + spec.consumers : spec.producers;
    dead_ = 0;
    all_gone_ = true;
    s_.fences = !can_fence_peers();
    for (std::uint32_t i = begin; i < end; ++i) {
      const std::uint32_t state = region_.slot(i).state.load(std::memory_order_acquire);
      if (region_.slot(i).fences.load(std::memory_order_relaxed) != 0) s_.fences = true;
      if (state == kDead) ++dead_;
      if (state != kDead && state != kDone) all_gone_ = false;
    }
    s_.seen_epoch = epoch;
    scanned_ = true;
  }
  // The short way asks nothing of this: it ends where there is more to say than "go on".
  if (all_gone_ || own().state.load(std::memory_order_relaxed) != kAttached) s_.room_until = 0;
  if (own().state.load(std::memory_order_relaxed) != kAttached)
    return MVM_EOS;  // closed by the kernel's word
  if (all_gone_) return dead_ > 0 ? MVM_PEERDEAD : MVM_EOS;
  if (side_ == Side::kConsumer && dead_ > told_) {
    ++told_;
    return MVM_PEERDEAD;
  }
  return kAgain;
}

// What the queue's rule says where there is no room.
int End::full_result() {
  if (region_.shared().broken.load(std::memory_order_relaxed) != 0) return MVM_ECORRUPT;
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  Slot& slot = own();
  switch (region_.spec().when_full) {
    case kDropNewest:
      slot.dropped.store(slot.dropped.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return MVM_DROPPED;
    case kFail:
      slot.refused.store(slot.refused.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return MVM_FULL;
    default:
      return kAgain;
  }
}

// Says since when the message with this number, the next after so many, is there, so that whoever releases it
// knows how long it took. Each producer has one such message at a time. False: the last one has not left.
bool End::sample(std::uint64_t count, std::uint64_t number, bool last_is_gone) {
  if (!last_is_gone) {
    sampler_.missed(count);
    return false;
  }
  const std::int64_t now = now_ns();
  sampler_.took(count, now);
  Slot& slot = own();
  slot.sample.store(0, std::memory_order_relaxed);
  slot.sample_at.store(now, std::memory_order_release);
  slot.sample.store(number + 1, std::memory_order_release);
  return true;
}

// The message was marked as a sample. What its producer says is only believed where it speaks of this one.
void End::sample_taken(std::uint32_t producer, std::uint64_t number, std::uint64_t token) {
  if (producer >= region_.spec().producers) return;
  const Slot& slot = region_.slot(producer);
  if (slot.sample.load(std::memory_order_acquire) != number + 1) return;
  const std::int64_t at = slot.sample_at.load(std::memory_order_acquire);
  if (slot.sample.load(std::memory_order_relaxed) != number + 1) return;
  sampled_ = token;
  sampled_at_ = at;
}

void End::count_sample() {
  // Unsigned: what stands there is a stranger's word.
  const std::uint64_t took = static_cast<std::uint64_t>(now_ns()) - static_cast<std::uint64_t>(sampled_at_);
  add_latency(region_.latencies(), static_cast<std::int64_t>(took));
  sampled_at_ = 0;
}

int End::broken() {
  region_.shared().broken.store(1, std::memory_order_relaxed);
  return MVM_ECORRUPT;
}

void End::count_message(std::uint64_t size) {
  bytes_ += size;
  Slot& slot = own();
  slot.bytes.store(bytes_, std::memory_order_relaxed);
  slot.count.store(count_, std::memory_order_relaxed);
}

int End::reserve(std::uint64_t size, std::byte** data) {
  if (reserved_) return MVM_EINVAL;
  if (size > largest()) return MVM_TOOBIG;
  if (region_.geometry().mode == kStream) {
    wanted_ = 8 + (size + 7) / 8 * 8;
    if (!stream_room(wanted_)) return full_result();
    if (const int gone = other_side_result(); gone != kAgain) return gone;
    *data = stream_place();
    s_.room_until = 0;  // nothing goes the short way until it is committed
  } else if (region_.geometry().mode == kClaims) {
    if (const int result = claims_reserve(size, data); result != MVM_OK) return result;
  } else {
    std::uint32_t cell = kNone;
    if (!cells_lock()) return kAgain;
    // The priority is not known yet: a reservation may push out any message.
    const int result = cells_reserve(size, kLevels - 1, cell);
    CellBook book(region_);
    CellCopy copy;
    const bool placed = result == MVM_OK && book.locate(cell, copy);
    book.unlock();
    if (result != MVM_OK) return result;
    if (!placed) return MVM_ECORRUPT;
    reserved_cell_ = cell;
    *data = region_.data() + copy.offset;
  }
  reserved_ = true;
  reserved_size_ = size;
  return MVM_OK;
}

int End::commit(std::uint64_t size, std::uint32_t priority, std::uint64_t key) {
  if (!reserved_ || size > reserved_size_) return MVM_EINVAL;
  if (region_.geometry().mode == kStream) {
    reserved_ = false;
    stream_publish(size, 0, true);
    return MVM_OK;
  }
  if (region_.geometry().mode == kClaims) {
    reserved_ = false;
    return claims_commit(size, key);
  }
  if (!cells_lock()) return kAgain;
  reserved_ = false;
  CellBook book(region_);
  const Cell& cell = region_.cell(reserved_cell_);
  const bool ours = cell.state.load(std::memory_order_relaxed) == kReserved &&
                    cell.owner.load(std::memory_order_relaxed) == index_;
  if (ours) {
    book.make_ready(reserved_cell_, size, region_.spec().kind == kPriority ? priority : 0, key,
                    cells_sample());
    ++count_;
    count_message(size);
  }
  book.unlock();
  return ours ? MVM_OK : MVM_EOS;  // else the end was closed meanwhile, and its reservation with it
}

int End::cancel() {
  if (!reserved_) return MVM_EINVAL;
  if (region_.geometry().mode == kClaims) claims_cancel();
  if (region_.geometry().mode == kCells) {
    if (!cells_lock()) return kAgain;
    CellBook book(region_);
    book.discard(reserved_cell_, index_);
    book.unlock();
    if (region_.shared().space.sleepers.load() != 0) wake(region_.shared().space);
  }
  reserved_ = false;
  return MVM_OK;
}

int End::take(View& view) {
  if (region_.geometry().mode == kStream) return stream_take(view, false);
  if (region_.geometry().mode == kClaims) return claims_take(view);
  return cells_take(view, false, nullptr, 0);
}

int End::release(std::uint64_t token) {
  if (region_.geometry().mode == kStream) return stream_release(token);
  if (region_.geometry().mode == kClaims) return claims_release(token);
  return cells_release(token);
}

void End::check_peers() {
  const Spec& spec = region_.spec();
  const std::uint32_t begin = side_ == Side::kProducer ? spec.producers : 0;
  const std::uint32_t end = side_ == Side::kProducer ? spec.producers + spec.consumers : spec.producers;
  for (std::uint32_t i = begin; i < end; ++i) {
    Slot& slot = region_.slot(i);
    const std::uint32_t state = slot.state.load();
    const bool lost = state == kAttached && slot.supervised.load() == 0 && !region_.claimed(i);
    const bool unsettled =
        region_.geometry().mode == kClaims && (state == kDone || state == kDead) && slot.settled.load() == 0;
    if (!lost && !unsettled) {
      suspects_[i] = 0;
      continue;
    }
    if (suspects_[i] == 0) {  // whoever reaps it gets the first word
      suspects_[i] = 1;
      continue;
    }
    if (!declare_dead(i)) continue;
    tell();
  }
  if (is_claims()) check_manager();
}

// Places that are a manager's who is gone would stay so, and their room with them.
void End::check_manager() {
  const bool lost = region_.claim_table().draining.load() != 0 && !region_.claimed(region_.slot_count());
  if (lost && drain_suspect_ && region_.claim(region_.slot_count())) {
    settle_drain(region_);
    region_.unclaim(region_.slot_count());
    tell();
  }
  drain_suspect_ = lost && !drain_suspect_;
}

// False where the lock cannot be had now.
bool End::declare_dead(std::uint32_t index) {
  Slot& slot = region_.slot(index);
  std::uint32_t state = kAttached;
  if (region_.geometry().mode != kCells) {
    slot.state.compare_exchange_strong(state, kDead);
    if (region_.geometry().mode == kClaims) finish_claims(region_, index);
    return true;
  }
  CellBook book(region_);
  if (!book.lock(index_, now_ns() + 20'000'000)) return false;
  if (slot.state.compare_exchange_strong(state, kDead)) book.reap(index);
  book.unlock();
  return true;
}

}  // namespace mvm::ring
