// SPDX-License-Identifier: Apache-2.0
#pragma once
// One end of a queue: the steps that never wait. wait.h puts the waiting around them.
// One thread at a time. Results are the MVM_* values of mvm.h, and kAgain where the step would have to wait.

#include <string>
#include <vector>

#include "cells.h"
#include "claims.h"
#include "drained.h"
#include "fence.h"
#include "latency.h"
#include "region.h"

namespace mvm::ring {

inline constexpr int kAgain = -100;
inline constexpr int kVoided = -101;  // a message that was begun and never finished
/// Streams copy longer messages piece by piece, so that the consumer copies the first while the next is
/// written.
inline constexpr std::uint64_t kGrowAbove = 16384;
inline constexpr std::uint64_t kGrowBy = 16384;

/// A message as it lies in the queue.
struct View {
  const std::byte* data = nullptr;
  std::uint64_t size = 0;
  std::uint64_t key = 0;
  std::uint64_t token = 0;  // names it to release()
  std::uint64_t total = 0;  // of the whole message: more than `size` where it is cut into fragments
  std::uint32_t priority = 0;
  bool redelivered = false;
  bool more = false;          // another fragment follows
  bool continuation = false;  // not a message's first fragment
  bool aborted = false;       // the fragments before are void
  bool growing = false;       // the payload is still being written
};

/// What the short way of a stream's end touches, in private memory and together.
struct alignas(64) StreamState {
  std::byte* data = nullptr;
  std::uint64_t mask = 0;
  std::uint64_t position = 0;     // producer: written; consumer: released
  std::uint64_t count = 0;        // messages committed; consumer: released
  std::uint64_t room_until = 0;   // producer: a message may end here, and needs not ask; 0: always ask
  std::uint64_t count_until = 0;  // producer: as many messages may be committed
  std::uint64_t most = 0;         // the largest message that goes the short way
  std::uint64_t held = 0;         // consumer: bytes taken and not released
  Slot* own = nullptr;
  Event* wakes = nullptr;  // where the other side sleeps
  const std::atomic<std::uint32_t>* epoch = nullptr;
  std::uint32_t seen_epoch = 0;
  bool fences = true;
};

inline constexpr unsigned kMostHoles = 8;
inline constexpr std::uint64_t kTellHead = 64;  // how many messages a hint lags behind

/// What an end of a claim queue knows, in private memory. Tickets number the places that were ever claimed.
struct ClaimState {
  Places places;
  std::uint64_t next = 0;   // an only producer's next ticket; else where to look first
  std::uint64_t limit = 0;  // of bytes in use, in units
  bool alone = false;       // the only producer
  // producer
  std::uint64_t end = 0;    // where the bytes of the last message end, in units
  std::uint64_t low = 0;    // where the bytes in use begin
  std::uint64_t taken = 0;  // no ticket before it is waiting to be taken
  std::uint64_t freed = 0;  // no ticket before it is in use
  std::uint64_t mine = 0;   // one of several: the ticket of the place that is being written
  // consumer
  std::uint32_t seen_epoch = 0;
  unsigned hole_count = 0;
  std::uint64_t rescan_until = 0;        // a message may have come back anywhere before it
  std::uint64_t holes[kMostHoles] = {};  // passed over while they were being written
};

class End {
 public:
  End() = default;
  End(End&&) noexcept = default;
  End& operator=(End&&) noexcept = default;
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  /// Claims the slot. MVM_EBUSY where another process holds it, or it was closed.
  int attach(Region&& region, Side side, std::uint32_t slot, bool supervised, std::string& why);
  /// Closes the end in order (kDone) or not (kDead) and tells the others. Idempotent.
  void close(SlotState how);

  // ---- producer ----
  /// The largest message that is not cut.
  [[nodiscard]] std::uint64_t largest() const { return region_.spec().bytes / 2; }
  [[nodiscard]] bool may_fragment() const {
    return region_.geometry().mode == kStream && region_.spec().fragments != 0 &&
           region_.spec().when_full == kBlock;
  }
  /// Room for `size` bytes in the queue. The queue's rule is applied, but for blocking: that is kAgain.
  int reserve(std::uint64_t size, std::byte** data);
  int commit(std::uint64_t size, std::uint32_t priority, std::uint64_t key);
  int cancel();
  int put(const void* data, std::uint64_t size, std::uint32_t priority, std::uint64_t key);
  /// A stream's fragment, as it is seen by take(). The first carries the total.
  int put_fragment(const void* data, std::uint64_t size, std::uint64_t total, bool continuation, bool more);
  /// Voids the fragments put so far. There is always room for it.
  void put_abort();

  // ---- the short way of streams (stream.h) ----
  /// Puts a message where there is room for certain. False: nothing happened, take the long way.
  bool quick_put(const void* data, std::uint64_t size);
  /// Takes, copies and releases a message that is there and fits; its size. Negative: take the long way.
  std::int64_t quick_get(void* buffer, std::uint64_t capacity);
  /// Consumer: something was put that has not been released.
  [[nodiscard]] bool quick_ready() const;
  /// Consumer: at least so many short messages are there.
  [[nodiscard]] bool quick_backlog(int messages) const;
  [[nodiscard]] bool is_stream() const { return region_.geometry().mode == kStream; }

  // ---- the short way of claim queues (claims_quick.h) ----
  /// An only producer puts a short message where there is room for certain. False: take the long way.
  bool claims_quick_put(const void* data, std::uint64_t size);
  /// Takes, copies and releases the next message if it is short. Negative: take the long way.
  std::int64_t claims_quick_get(void* buffer, std::uint64_t capacity);
  [[nodiscard]] bool is_claims() const { return region_.geometry().mode == kClaims; }

  // ---- consumer ----
  /// The next message, or fragment; it stays in the queue until released. A stream releases in order.
  int take(View& view);
  int release(std::uint64_t token);
  /// Takes, copies and releases. MVM_TOOBIG where it does not fit (view.total tells). A fragment (view.more
  /// or view.continuation) or a growing message is not copied but left taken, with view.data set.
  int get(void* buffer, std::uint64_t capacity, View& view);
  /// Copies what there is of a growing message beyond `done` bytes. MVM_OK: all of it, and it is released;
  /// kAgain: more is to come (wait for grown()); kVoided: its producer died, and it was thrown away.
  int get_grown(const View& view, void* buffer, std::uint64_t& done);
  /// True where get_grown() may get on.
  [[nodiscard]] bool grown() const;
  /// Size of the next message without taking it; kAgain.
  std::int64_t next_size();
  /// Stream: forget what was taken and not released; the next take() begins there again.
  void rewind();

  // ---- for waiting ----
  /// Where this side sleeps.
  [[nodiscard]] Event& event() const {
    return side_ == Side::kConsumer ? region_.shared().data : region_.shared().space;
  }
  /// Says that a sleep follows, on event().step as long as it has the value returned. Between the two:
  /// fence_peers() (or a full fence where fences_peers() is false) and a last look. The value is read first:
  /// a clearing of `sleepers` that hits what we store here steps it later.
  [[nodiscard]] std::uint32_t arm() const {
    Event& at = event();
    const std::uint32_t step = at.step.load(std::memory_order_seq_cst);
    at.sleepers.store(1, std::memory_order_seq_cst);
    return step;
  }
  /// True where the last step that gave kAgain may succeed now. Cheap, and never false for ever.
  [[nodiscard]] bool maybe();
  /// True where a call would not wait: something to take or to learn, or room for a message.
  [[nodiscard]] bool ready();
  /// MVM_EOS or MVM_PEERDEAD where nobody is left on the other side; kAgain else. Producers only.
  int other_side() { return other_side_result(); }
  /// After an arming of event() that was not followed by a take: hands a wake-up on to another consumer.
  void pass_on();
  /// Looks whether the other side's processes live, by their claims; declares the second time an attached
  /// slot is found unclaimed. Called at most every kCheckEvery.
  void check_peers();
  /// How long a step may wait for the lock.
  void lock_until(std::int64_t deadline) { lock_until_ = deadline; }
  [[nodiscard]] Slot& own() const { return region_.slot(index_); }
  [[nodiscard]] const Region& region() const { return region_; }
  /// Consumer: true where the last step found that no producer is left.
  [[nodiscard]] bool finished() const { return all_gone_; }
  [[nodiscard]] Side side() const { return side_; }
  [[nodiscard]] bool attached() const { return region_.is_open(); }
  /// Messages that this end's slot has put, or released.
  [[nodiscard]] std::uint64_t count() const {
    const std::uint64_t passed = own().count.load(std::memory_order_relaxed);
    return is_stream() && side_ == Side::kConsumer ? passed - drained_before(region_, passed).messages
                                                   : passed;
  }
  /// True where a sleep must be preceded by fence_peers().
  [[nodiscard]] bool fences_peers() const { return region_.geometry().mode != kCells; }

 private:
  int other_side_result();
  int stream_attach(std::string& why);
  void stream_settle();
  bool stream_room(std::uint64_t need);
  bool stream_fits(std::uint64_t need);
  std::byte* stream_place() const { return s_.data + ((s_.position + 8) & s_.mask); }
  bool stream_sample();
  void stream_gate() const;
  void stream_untake();
  [[nodiscard]] bool stream_drained(std::uint64_t word, std::uint64_t count) const;
  bool stream_skip(std::uint64_t ahead, std::uint64_t count);
  void stream_close_gap();
  void stream_publish_released();
  void stream_publish(std::uint64_t size, std::uint64_t flags, bool counts);
  void stream_grow(const void* data, std::uint64_t size);
  void stream_wake();
  int stream_take(View& view, bool growing_too);
  int stream_release(std::uint64_t token);
  int cells_reserve(std::uint64_t size, std::uint32_t priority, std::uint32_t& cell);
  int cells_put(const void* data, std::uint64_t size, std::uint32_t priority, std::uint64_t key);
  int cells_take(View& view, bool copy_small, void* buffer, std::uint64_t capacity);
  int cells_release(std::uint64_t token);
  /// When the message that becomes ready now does so, if it is to be a sample; else 0.
  std::int64_t cells_sample() {
    return __builtin_expect(count_ < sampler_.next(), 1) ? 0 : cells_take_sample();
  }
  std::int64_t cells_take_sample();
  void cells_left(const Cell& cell) const {
    if (__builtin_expect((cell.flags.load(std::memory_order_relaxed) & kCellSampled) != 0, 0))
      cells_count_sample(cell);
  }
  void cells_count_sample(const Cell& cell) const;
  bool cells_lock();
  void fill(View& view, std::uint32_t index, std::uint64_t offset, std::uint64_t size) const;
  // ---- claims: claims_end.cpp ----
  struct Found {
    std::uint64_t ticket = 0;
    std::uint64_t word = 0;
  };
  void claims_attach();
  [[nodiscard]] std::uint64_t claims_tail() const;
  void claims_look_back(std::uint64_t from);
  bool claims_walk(std::uint64_t until);
  [[nodiscard]] bool claims_fits(std::uint64_t ticket, std::uint64_t end, std::uint64_t room) const;
  bool claims_room_alone(std::uint64_t room);
  int claims_claim(std::uint64_t room, bool only_look);
  int claims_begin(std::uint64_t room);
  [[nodiscard]] std::byte* claims_place(std::uint64_t room) const;
  bool claims_sample(std::uint64_t ticket);
  void claims_short_way_ends();
  int claims_publish(std::uint64_t size, std::uint64_t room, bool keyed);
  int claims_put(const void* data, std::uint64_t size, std::uint64_t key);
  int claims_reserve(std::uint64_t size, std::byte** data);
  int claims_commit(std::uint64_t size, std::uint64_t key);
  void claims_cancel();
  void claims_wake_consumer();
  bool claims_find_hole(Found& found);
  bool claims_find(Found& found);
  int claims_next(Found& found);
  bool claims_view(const Found& found, View& view) const;
  void claims_sampled(const Found& found);
  bool claims_take_place(Found& found, std::uint64_t to);
  void claims_tell_head();
  int claims_take(View& view);
  int claims_release(std::uint64_t token);
  void claims_left(std::uint64_t size);
  int claims_get(void* buffer, std::uint64_t capacity, View& view);
  std::int64_t claims_next_size();
  bool claims_maybe();

  // ---- samples: end.cpp ----
  bool sample(std::uint64_t count, std::uint64_t number, bool last_is_gone);
  void sample_taken(std::uint32_t producer, std::uint64_t number, std::uint64_t token);
  void sample_released(std::uint64_t token) {
    if (__builtin_expect(sampled_at_ != 0, 0) && token == sampled_) count_sample();
  }
  void count_sample();

  int full_result();
  int broken();
  void wake(Event& event) const;
  void tell() const;
  bool declare_dead(std::uint32_t index);
  void check_manager();
  void count_message(std::uint64_t size);

  Region region_;
  Side side_ = Side::kProducer;
  std::uint32_t index_ = 0;  // over both sides
  std::int64_t lock_until_ = 0;
  bool scanned_ = false;    // the next three speak of s_.seen_epoch
  std::uint32_t dead_ = 0;  // dead ends on the other side
  bool all_gone_ = false;   // nobody left there
  std::uint32_t told_ = 0;  // deaths reported to our caller
  std::vector<std::uint8_t> suspects_;
  Sampler sampler_;              // producer
  std::uint64_t sampled_ = 0;    // consumer: the token of the sample that it holds
  std::int64_t sampled_at_ = 0;  // ... and since when it was there; 0: it holds none

  StreamState s_;  // of claims too: data, mask, own, wakes, epoch, seen_epoch, fences
  ClaimState c_;
  std::uint64_t count_held_ = 0;   // consumer: messages among the bytes held
  std::uint64_t last_length_ = 0;  // consumer: of the last one taken, with its word
  bool last_counts_ = false;
  // Consumer: a manager's messages among the bytes held, to be passed over when all before are released.
  std::uint64_t gap_at_ = 0, gap_length_ = 0, gap_count_ = 0, gap_overhead_ = 0;
  bool drain_suspect_ = false;  // claims: places are a manager's who seems to be gone
  std::uint64_t seen_ = 0;      // producer: consumer's position as last read
  std::uint64_t seen_count_ = 0;
  std::uint64_t wanted_ = 0;   // producer: bytes the last try wanted; claims: units
  std::uint64_t awaited_ = 0;  // consumer: bytes of the growing message that it has
  // cells, and a stream's overhead
  std::uint64_t count_ = 0;
  std::uint64_t bytes_ = 0;
  // a reservation
  bool reserved_ = false;
  std::uint64_t reserved_size_ = 0;
  std::uint32_t reserved_cell_ = kNone;
  std::uint32_t released_ = 0;  // cells: table().released at the last try
  std::int64_t retry_at_ = 0;   // cells: when a message that is in the way will have waited too long
};

}  // namespace mvm::ring
