// SPDX-License-Identifier: Apache-2.0
// The steps of an end of a claim queue. Nothing is locked: a message belongs to whoever changes the word of
// its place by compare and swap. An only producer needs not even that: it alone changes free places.
#include <algorithm>
#include <climits>

#include "claims_quick.h"
#include "futex.h"
#include "mvm.h"

namespace mvm::ring {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
#if defined(__x86_64__) || defined(__i386__)
constexpr bool kSwapsDoNotFence = false;
#else
constexpr bool kSwapsDoNotFence = true;  // a swap may pass a later load
#endif
std::uint64_t room_of(std::uint64_t meta) { return meta >> 32 & ((1U << 29) - 1); }

bool has_been_taken(std::uint32_t state) { return state == kPlaceHeld || state == kPlaceDrained; }

std::uint64_t intent_of(std::uint64_t place, std::uint64_t count) { return place | count << kClaimIndexBits; }

}  // namespace

// ---- attaching ----

void End::claims_attach() {
  const Spec& spec = region_.spec();
  const Slot& slot = own();
  c_ = ClaimState{};
  c_.places = Places(region_);
  c_.limit = spec.bytes / kClaimUnit;
  c_.alone = side_ == Side::kProducer && spec.producers == 1;
  s_.data = region_.data();
  s_.mask = region_.geometry().data_size - 1;
  s_.own = &own();
  s_.wakes = side_ == Side::kProducer ? &region_.shared().data : &region_.shared().space;
  s_.epoch = &region_.shared().epoch;
  s_.fences = true;  // until the peers' slots were read
  settle_claims(region_, index_);
  count_ = slot.count.load();
  bytes_ = slot.bytes.load();
  sampler_.begin(count_);
  if (!c_.alone) {
    claims_look_back(claims_tail());
    if (side_ == Side::kProducer) c_.next = c_.rescan_until;
    return;
  }
  c_.next = count_;
  const Places& places = c_.places;
  c_.end = c_.next == 0 ? 0 : PlaceWord::end(places.at(c_.next - 1).word.load());
  c_.low = c_.end;
  const std::uint64_t back = std::min(c_.next, places.count());
  for (c_.freed = c_.next - back; c_.freed < c_.next; ++c_.freed) {
    const Place& place = places.at(c_.freed);
    const std::uint64_t word = place.word.load(kAcquire);
    if (places.ahead(word, c_.freed) > 0) continue;
    c_.low = (PlaceWord::end(word) - room_of(place.meta.load(kRelaxed))) & kClaimEndMask;
    break;
  }
  c_.taken = c_.freed;
}

std::uint64_t End::claims_tail() const {
  return region_.spec().producers == 1 ? region_.slot(0).count.load(kAcquire)
                                       : region_.claim_table().tail.load(kAcquire);
}

// Looks at all places again that can hold a message: one may have come back.
void End::claims_look_back(std::uint64_t from) {
  c_.next = from - std::min(from, c_.places.count());
  c_.rescan_until = from;
  c_.hole_count = 0;
}

// ---- room ----

// Up to where messages have been taken, and given back. False: other producers are far ahead of us.
bool End::claims_walk(std::uint64_t until) {
  const Places& places = c_.places;
  for (; c_.taken < until; ++c_.taken) {
    const std::uint64_t word = places.at(c_.taken).word.load(kAcquire);
    const int ahead = places.ahead(word, c_.taken);
    if (ahead < 0 || (ahead == 0 && !has_been_taken(PlaceWord::state(word)))) break;
  }
  for (; c_.freed < until; ++c_.freed) {
    const std::uint64_t word = places.at(c_.freed).word.load(kAcquire);
    const int ahead = places.ahead(word, c_.freed);
    if (ahead <= 0) break;
    if (ahead > 1 || PlaceWord::state(word) != kPlaceFree) return false;
    c_.low = PlaceWord::end(word);
  }
  return true;
}

bool End::claims_fits(std::uint64_t ticket, std::uint64_t end, std::uint64_t room) const {
  return ticket - c_.taken < region_.spec().capacity && ticket - c_.freed < c_.places.count() &&
         ((end - c_.low) & kClaimEndMask) + room <= c_.limit;
}

// For an only producer: room behind what it has put.
bool End::claims_room_alone(std::uint64_t room) {
  if (!claims_fits(c_.next, c_.end, room) && !claims_walk(c_.next)) return broken(), false;
  claims_short_way_ends();
  return claims_fits(c_.next, c_.end, room);
}

// An only producer's: where there may be no room, or a sample is due.
void End::claims_short_way_ends() {
  s_.room_until =
      reserved_
          ? 0
          : std::min({c_.taken + region_.spec().capacity, c_.freed + c_.places.count(), sampler_.next()});
}

// Claims the next place and room for so many units behind the bytes of the one before. kAgain: full.
int End::claims_claim(std::uint64_t room, bool only_look) {
  const Places& places = c_.places;
  ClaimTable& table = region_.claim_table();
  c_.next = std::max(c_.next, table.tail.load(kAcquire));
  for (std::uint64_t steps = 0; steps < 4 * places.count(); ++steps) {
    const std::uint64_t ticket = c_.next;
    std::uint64_t word = places.at(ticket).word.load(kAcquire);
    const int ahead = places.ahead(word, ticket);
    if (ahead > 0 || (ahead == 0 && PlaceWord::state(word) != kPlaceFree)) {
      ++c_.next;
      continue;
    }
    if (ahead < 0) {  // its message of the last round is still there, or our ticket is of long ago
      const std::uint64_t tail = table.tail.load(kAcquire);
      if (tail <= ticket) return kAgain;
      c_.next = tail;
      continue;
    }
    if (ticket - c_.freed >= places.count()) {  // others went on without us
      c_.freed = ticket - places.count() + 1;
      c_.taken = std::max(c_.taken, c_.freed);
      c_.low = PlaceWord::end(word);
    }
    std::uint64_t end = 0;
    if (ticket != 0) {
      const std::uint64_t before = places.at(ticket - 1).word.load(kAcquire);
      const int laps = places.ahead(before, ticket - 1);
      const bool free = PlaceWord::state(before) == kPlaceFree;
      if (laps > 1 || (laps == 1 && !free)) continue;  // so somebody has claimed ours
      if (laps < 0 || (laps == 0 && free)) return broken();
      end = PlaceWord::end(before);
    }
    if (!claims_walk(ticket)) continue;
    if (!claims_fits(ticket, end, room)) {
      if (places.at(ticket).word.load(kAcquire) != word) continue;
      return kAgain;
    }
    if (only_look) return MVM_OK;
    const std::uint64_t mine = PlaceWord::make(places.lap(ticket), kPlaceWriting, index_, end + room);
    if (!places.at(ticket).word.compare_exchange_strong(word, mine, std::memory_order_acq_rel, kAcquire)) {
      continue;
    }
    if (table.tail.load(kRelaxed) < ticket + 1) table.tail.store(ticket + 1, std::memory_order_release);
    c_.next = ticket + 1;
    c_.mine = ticket;
    c_.end = (end + room) & kClaimEndMask;
    return MVM_OK;
  }
  return kAgain;
}

// ---- producer ----

// Room for a message; where it is to be written is claims_place(). An only producer has claimed nothing yet.
int End::claims_begin(std::uint64_t room) {
  if (region_.shared().broken.load(kRelaxed) != 0) return MVM_ECORRUPT;
  if (const int gone = other_side_result(); gone != kAgain) return gone;
  wanted_ = room;
  int result = MVM_OK;
  if (c_.alone) {
    if (claims_room_alone(room))
      c_.end = (c_.end + room) & kClaimEndMask;
    else
      result = kAgain;
  } else {
    result = claims_claim(room, false);
  }
  return result == kAgain ? full_result() : result;
}

std::byte* End::claims_place(std::uint64_t room) const {
  return s_.data + (((c_.end - room) * kClaimUnit) & s_.mask);
}

// The last sample has left where nobody but a consumer has its place.
bool End::claims_sample(std::uint64_t ticket) {
  if (count_ < sampler_.next()) return false;
  bool gone = true;
  if (const std::uint64_t last = own().sample.load(kRelaxed); last != 0) {
    const std::uint64_t word = c_.places.at(last - 1).word.load(kAcquire);
    gone = c_.places.ahead(word, last - 1) != 0 || PlaceWord::state(word) != kPlaceReady;
  }
  const bool taken = sample(count_, ticket, gone);
  if (c_.alone) claims_short_way_ends();
  return taken;
}

int End::claims_publish(std::uint64_t size, std::uint64_t room, bool keyed) {
  const Places& places = c_.places;
  Slot& slot = own();
  std::uint64_t meta = claim_meta(size, room, keyed);
  if (claims_sample(c_.alone ? c_.next : c_.mine)) meta |= kClaimSampled;
  if (c_.alone) {
    Place& place = places.at(c_.next);
    place.meta.store(meta, kRelaxed);
    place.word.store(PlaceWord::make(places.lap(c_.next), kPlaceReady, index_, c_.end),
                     std::memory_order_release);
    count_ = ++c_.next;
  } else {
    const std::uint64_t ticket = c_.mine;
    Place& place = places.at(ticket);
    std::uint64_t mine = PlaceWord::make(places.lap(ticket), kPlaceWriting, index_, c_.end);
    place.meta.store(meta, kRelaxed);
    slot.progress.store(intent_of(places.index(ticket), count_ + 1), std::memory_order_release);
    if (!place.word.compare_exchange_strong(mine, PlaceWord::changed(mine, kPlaceReady, index_),
                                            std::memory_order_acq_rel, kRelaxed)) {
      slot.progress.store(0, std::memory_order_release);
      return MVM_EOS;  // the end was closed meanwhile, and its place made void
    }
    ++count_;
  }
  count_message(size);
  claims_wake_consumer();
  return MVM_OK;
}

int End::claims_put(const void* data, std::uint64_t size, std::uint64_t key) {
  const std::uint64_t prefix = key != 0 ? kClaimUnit : 0;
  const std::uint64_t room = claim_units(prefix + size);
  if (const int result = claims_begin(room); result != MVM_OK) return result;
  std::byte* at = claims_place(room);
  if (prefix != 0) std::memcpy(at, &key, sizeof key);
  copy_message(at + prefix, data, size);
  return claims_publish(size, room, prefix != 0);
}

// A reservation has room for a key, which comes with the commitment.
int End::claims_reserve(std::uint64_t size, std::byte** data) {
  const std::uint64_t room = claim_units(kClaimUnit + size);
  if (const int result = claims_begin(room); result != MVM_OK) return result;
  s_.room_until = 0;  // nothing goes the short way until it is committed
  *data = claims_place(room) + kClaimUnit;
  return MVM_OK;
}

int End::claims_commit(std::uint64_t size, std::uint64_t key) {
  const std::uint64_t room = claim_units(kClaimUnit + reserved_size_);
  std::memcpy(claims_place(room), &key, sizeof key);
  return claims_publish(size, room, true);
}

void End::claims_cancel() {
  const std::uint64_t room = claim_units(kClaimUnit + reserved_size_);
  if (c_.alone) {
    c_.end = (c_.end - room) & kClaimEndMask;
    return;
  }
  const std::uint64_t ticket = c_.mine;
  std::uint64_t mine = PlaceWord::make(c_.places.lap(ticket), kPlaceWriting, index_, c_.end);
  c_.places.at(ticket).word.compare_exchange_strong(mine, PlaceWord::freed(mine, index_));
  claims_wake_consumer();  // one may wait for what comes behind
  if (region_.shared().space.sleepers.load(kRelaxed) != 0) wake(region_.shared().space);
}

// One consumer for one message. Where others may sleep on, the flag is set again.
void End::claims_wake_consumer() {
  fence_own(s_.fences || (kSwapsDoNotFence && side_ == Side::kProducer && !c_.alone));
  Event& event = region_.shared().data;
  if (__builtin_expect(event.sleepers.load(kRelaxed) == 0, 1)) return;
  if (side_ == Side::kProducer) {
    sampler_.slow(count_);
    s_.room_until = std::min(s_.room_until, sampler_.next());
  }
  for (;;) {
    event.sleepers.store(0, kRelaxed);
    event.step.fetch_add(1);
    if (futex_wake(event.step, 1) == 0 || region_.spec().consumers == 1) return;
    event.sleepers.store(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // Another producer that came meanwhile found the flag cleared. It had claimed its place before it looked.
    if (side_ == Side::kConsumer || c_.alone) return;
    const std::uint64_t word = c_.places.at(c_.next).word.load(kAcquire);
    const int ahead = c_.places.ahead(word, c_.next);
    if (ahead < 0 || (ahead == 0 && PlaceWord::state(word) == kPlaceFree)) return;
    ++c_.next;
  }
}

// ---- consumer ----

// A place that was passed over while it was written, and is a message now.
bool End::claims_find_hole(Found& found) {
  unsigned kept = 0;
  bool any = false;
  for (unsigned i = 0; i < c_.hole_count; ++i) {
    const std::uint64_t ticket = c_.holes[i];
    const std::uint64_t word = c_.places.at(ticket).word.load(kAcquire);
    const bool current = c_.places.ahead(word, ticket) == 0;
    const std::uint32_t state = PlaceWord::state(word);
    const bool message = current && (state == kPlaceReady || state == kPlaceAgain);
    if (message && !any) {
      any = true;
      found = {ticket, word};
    }
    if (message || (current && state == kPlaceWriting)) c_.holes[kept++] = ticket;
  }
  c_.hole_count = kept;
  return any;
}

// The next message that nobody has claimed. Places that a producer is still writing are passed over; but no
// message is found before an earlier one of its producer: that one was published first, so the look at the
// passed ones, which comes last, sees it.
bool End::claims_find(Found& found) {
  const Places& places = c_.places;
  for (std::uint64_t steps = 0; steps < 4 * places.count(); ++steps) {
    const std::uint64_t word = places.at(c_.next).word.load(kAcquire);
    const int ahead = places.ahead(word, c_.next);
    const std::uint32_t state = PlaceWord::state(word);
    if (ahead == 0 && (state == kPlaceReady || state == kPlaceAgain)) {
      if (c_.hole_count == 0 || !claims_find_hole(found)) found = {c_.next, word};
      return true;
    }
    if (ahead > 0 || (ahead == 0 && has_been_taken(state))) {
      ++c_.next;
      // Others are at work: no need to follow their every step.
      const std::uint64_t head = region_.claim_table().head.load(kRelaxed);
      if (head > c_.next && c_.next >= c_.rescan_until && c_.hole_count == 0) c_.next = head;
      continue;
    }
    if (ahead == 0 && state == kPlaceWriting && c_.hole_count < kMostHoles) {
      c_.holes[c_.hole_count++] = c_.next++;
      continue;
    }
    if (state > kPlaceDrained) return broken(), false;
    // Nobody has claimed this one, and so none behind it; unless we slept so long that the word misleads us.
    const std::uint64_t tail = claims_tail();
    if (tail > c_.next && tail - c_.next > places.count()) {
      claims_look_back(tail);
      continue;
    }
    return c_.hole_count != 0 && claims_find_hole(found);
  }
  return false;
}

// As claims_find(), after what the ends' states have to say. kAgain: nothing there yet.
int End::claims_next(Found& found) {
  const Shared& shared = region_.shared();
  for (;;) {
    if (shared.broken.load(kRelaxed) != 0) return MVM_ECORRUPT;
    if (own().state.load(kRelaxed) != kAttached) return MVM_EOS;
    const std::uint32_t epoch = shared.epoch.load(kAcquire);
    const std::uint32_t told = told_;
    if (epoch != c_.seen_epoch || !scanned_) {  // an end has gone: what it held may stand anywhere again
      static_cast<void>(other_side_result());
      told_ = told;
      claims_look_back(std::max(c_.next, claims_tail()));
      c_.seen_epoch = epoch;
    }
    if (claims_find(found)) return MVM_OK;
    if (shared.broken.load(kRelaxed) != 0) return MVM_ECORRUPT;
    const int gone = other_side_result();
    if (gone == kAgain) return kAgain;
    // What was published before a state changed is visible now.
    if (shared.epoch.load(kAcquire) == epoch && !claims_find(found)) return gone;
    told_ = told;
  }
}

// Where the message lies, checked against the data's bounds. False: the place has changed meanwhile, or is
// impossible.
bool End::claims_view(const Found& found, View& view) const {
  const std::uint64_t meta = c_.places.at(found.ticket).meta.load(kRelaxed);
  const std::uint64_t room = room_of(meta);
  const std::uint64_t prefix = (meta & kClaimKeyed) != 0 ? kClaimUnit : 0;
  const std::uint64_t size = meta & 0xffff'ffffU;
  if (room > claim_units(region_.spec().bytes / 2) + 1 || prefix + size > room * kClaimUnit) return false;
  const std::byte* at = s_.data + (((PlaceWord::end(found.word) - room) * kClaimUnit) & s_.mask);
  view = View{};
  view.data = at + prefix;
  view.size = size;
  view.total = size;
  view.token = found.ticket;
  view.redelivered = PlaceWord::state(found.word) == kPlaceAgain;
  if (prefix != 0) copy_unclaimed(&view.key, at, sizeof view.key);
  return true;
}

// Before it is taken: then its word still names its producer.
void End::claims_sampled(const Found& found) {
  if ((c_.places.at(found.ticket).meta.load(kRelaxed) & kClaimSampled) == 0 ||
      PlaceWord::state(found.word) != kPlaceReady)
    return;
  sample_taken(PlaceWord::owner(found.word), found.ticket, found.ticket);
}

// A hint for others; true for those that need not look back.
void End::claims_tell_head() {
  if (c_.hole_count == 0 && c_.next >= c_.rescan_until) {
    region_.claim_table().head.store(c_.next, kRelaxed);
  }
}

bool End::claims_take_place(Found& found, std::uint64_t to) {
  Place& place = c_.places.at(found.ticket);
  if (!place.word.compare_exchange_strong(found.word, to, std::memory_order_acq_rel, kRelaxed)) return false;
  if (found.ticket == c_.next) {
    ++c_.next;
    if (c_.next % kTellHead == 0) claims_tell_head();
  }
  return true;
}

int End::claims_take(View& view) {
  Found found;
  for (;;) {
    if (const int result = claims_next(found); result != MVM_OK) return result;
    const std::uint64_t held = PlaceWord::changed(found.word, kPlaceHeld, index_);
    const Found before = found;
    claims_sampled(found);
    if (!claims_take_place(found, held)) continue;
    return claims_view(before, view) ? MVM_OK : broken();
  }
}

int End::claims_release(std::uint64_t token) {
  Place& place = c_.places.at(token);
  std::uint64_t word = place.word.load(kRelaxed);
  const bool ours = c_.places.ahead(word, token) == 0 && PlaceWord::state(word) == kPlaceHeld &&
                    PlaceWord::owner(word) == index_;
  const std::uint64_t size = place.meta.load(kRelaxed) & 0xffff'ffffU;
  Slot& slot = own();
  if (ours) {
    slot.progress.store(intent_of(c_.places.index(token), count_ + 1), std::memory_order_release);
    if (place.word.compare_exchange_strong(word, PlaceWord::freed(word, index_), std::memory_order_acq_rel,
                                           kRelaxed)) {
      sample_released(token);
      claims_left(size);
      return MVM_OK;
    }
    slot.progress.store(0, std::memory_order_release);
  }
  return slot.state.load() == kAttached ? MVM_EINVAL : MVM_EOS;
}

// A message has left, and there is room.
void End::claims_left(std::uint64_t size) {
  ++count_;
  count_message(size);
  fence_own(s_.fences);
  if (__builtin_expect(region_.shared().space.sleepers.load(kRelaxed) != 0, 0)) wake(region_.shared().space);
}

// Takes, copies and releases. A short message is copied first and claimed as taken and released in one: where
// another consumer was faster, the copy is thrown away.
int End::claims_get(void* buffer, std::uint64_t capacity, View& view) {
  Found found;
  for (;;) {
    if (const int result = claims_next(found); result != MVM_OK) return result;
    const bool plausible = claims_view(found, view);
    if (!plausible || view.size > capacity) {
      std::atomic_thread_fence(kAcquire);
      if (c_.places.at(found.ticket).word.load(kRelaxed) != found.word) continue;
      if (!plausible) return broken();
      claims_wake_consumer();  // it may fit another one's buffer
      return MVM_TOOBIG;
    }
    claims_sampled(found);
    if (view.size <= kClaimQuick) {
      copy_unclaimed(buffer, view.data, view.size);
      if (!claims_take_place(found, PlaceWord::freed(found.word, index_))) continue;
      view.data = nullptr;
      sample_released(view.token);
      claims_left(view.size);
      return MVM_OK;
    }
    if (!claims_take_place(found, PlaceWord::changed(found.word, kPlaceHeld, index_))) continue;
    std::memcpy(buffer, view.data, view.size);
    return claims_release(view.token);
  }
}

std::int64_t End::claims_next_size() {
  Found found;
  View view;
  for (;;) {
    const std::uint32_t told = told_;
    const int result = claims_next(found);
    told_ = told;  // only asked: the next take tells it
    if (result != MVM_OK) return result;
    const bool plausible = claims_view(found, view);
    std::atomic_thread_fence(kAcquire);
    if (c_.places.at(found.ticket).word.load(kRelaxed) != found.word) continue;
    return plausible ? static_cast<std::int64_t>(view.size) : broken();
  }
}

// ---- waiting ----

bool End::claims_maybe() {
  if (side_ == Side::kConsumer) {
    Found found;
    return claims_find(found) || region_.shared().broken.load(kRelaxed) != 0;
  }
  return c_.alone ? claims_room_alone(wanted_) : claims_claim(wanted_, true) != kAgain;
}

}  // namespace mvm::ring
