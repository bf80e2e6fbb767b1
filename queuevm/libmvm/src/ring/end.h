// SPDX-License-Identifier: Apache-2.0
#pragma once
// One end of a queue: the steps that never wait. wait.h puts the waiting around them.
// One thread at a time. Results are the MVM_* values of mvm.h, and kAgain where the step would have to wait.

#include <string>
#include <vector>

#include "cells.h"
#include "region.h"

namespace mvm::ring {

inline constexpr int kAgain = -100;

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

  // ---- consumer ----
  /// The next message, or fragment; it stays in the queue until released. A stream releases in order.
  int take(View& view);
  int release(std::uint64_t token);
  /// Takes, copies and releases. MVM_TOOBIG where it does not fit (view.total tells). A fragment (view.more
  /// or view.continuation) is not copied but left taken, with view.data set.
  int get(void* buffer, std::uint64_t capacity, View& view);
  /// Size of the next message without taking it; kAgain.
  std::int64_t next_size();
  /// Stream: forget what was taken and not released; the next take() begins there again.
  void rewind();

  // ---- for waiting ----
  /// Where this side sleeps.
  [[nodiscard]] Event& event() const {
    return side_ == Side::kConsumer ? region_.shared().data : region_.shared().space;
  }
  /// True where the last step that gave kAgain may succeed now. Cheap, and never false for ever.
  [[nodiscard]] bool maybe() const;
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
  [[nodiscard]] std::uint64_t count() const { return own().count.load(std::memory_order_relaxed); }

 private:
  int other_side_result();
  int stream_attach(std::string& why);
  bool stream_room(std::uint64_t need);
  int stream_full();
  void stream_publish(std::uint64_t size, std::uint64_t flags, bool counts);
  int stream_take(View& view);
  int stream_release(std::uint64_t token);
  int cells_reserve(std::uint64_t size, std::uint32_t priority, std::uint32_t& cell);
  int cells_put(const void* data, std::uint64_t size, std::uint32_t priority, std::uint64_t key);
  int cells_take(View& view, bool copy_small, void* buffer, std::uint64_t capacity);
  int cells_release(std::uint64_t token);
  bool cells_lock();
  void fill(View& view, std::uint32_t index, std::uint64_t offset, std::uint64_t size) const;
  int broken();
  void wake(Event& event) const;
  void count_message(std::uint64_t size);

  Region region_;
  Side side_ = Side::kProducer;
  std::uint32_t index_ = 0;  // over both sides
  std::int64_t lock_until_ = 0;
  std::uint32_t epoch_ = 0;  // of which the next three speak
  bool scanned_ = false;
  std::uint32_t dead_ = 0;  // dead ends on the other side
  bool all_gone_ = false;   // nobody left there
  std::uint32_t told_ = 0;  // deaths reported to our caller
  std::vector<std::uint8_t> suspects_;

  // stream
  std::uint64_t position_ = 0;  // producer: written; consumer: released
  std::uint64_t ahead_ = 0;     // consumer: taken up to here
  std::uint64_t seen_ = 0;      // producer: consumer's position as last read
  std::uint64_t count_ = 0;     // messages committed; consumer: released
  std::uint64_t count_ahead_ = 0;
  std::uint64_t seen_count_ = 0;
  std::uint64_t wanted_ = 0;  // producer: bytes the last try wanted
  std::uint64_t bytes_ = 0;
  // a reservation
  bool reserved_ = false;
  std::uint64_t reserved_size_ = 0;
  std::uint32_t reserved_cell_ = kNone;
  std::uint32_t released_ = 0;  // cells: table().released at the last try
};

}  // namespace mvm::ring
