// Queue::drain: messages that wait are taken away by the queue's manager. docs/formats/ring.md, "Draining".
#include <algorithm>
#include <atomic>
#include <utility>

#include "impl.h"
#include "ring/claims_quick.h"
#include "ring/fence.h"

namespace mvm::queuevm {
namespace {

using ring::DrainRecord;
using ring::kUndecided;
using ring::kWordAbort;
using ring::kWordDrained;
using ring::kWordFirst;
using ring::kWordGrowing;
using ring::kWordMore;
using ring::kWordNext;

constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::size_t kMostWords = 1U << 20;         // of one call: fragments count, too
constexpr std::int64_t kConsumerLooks = 10'000'000;  // how long a stream's consumer has to say what it reads

Error impossible() { return {ErrorCode::kCorrupt, "the queue's shared memory holds impossible values"}; }

/// Counts what may still be taken.
class Bounds {
 public:
  explicit Bounds(const DrainRequest& request)
      : most_(std::clamp<std::size_t>(request.most, 1, ring::kMostDrained)),
        preview_(request.preview),
        room_(request.room) {}
  /// How many bytes of a message are wanted; nothing where there is no room for it.
  std::optional<std::uint64_t> add(std::uint64_t size) {
    const std::uint64_t wanted = std::min(size, preview_);
    if (count_ == most_ || (count_ != 0 && wanted > room_)) return std::nullopt;
    ++count_;
    room_ -= std::min(wanted, room_);
    return wanted;
  }

 private:
  std::size_t most_;
  std::uint64_t preview_, room_;
  std::size_t count_ = 0;
};

// ---- stream ----

/// A message of a stream.
struct Entry {
  std::uint64_t number = 0, start = 0, end = 0;
  std::uint64_t payload = 0;  // as the slots count it
  bool headless = false;      // its consumer is in the middle of it
  std::vector<std::uint64_t> words;
  PeekedMessage message;
};

class StreamDrain {
 public:
  StreamDrain(ring::Region& region, const DrainRequest& request)
      : region_(region),
        request_(request),
        drain_(region.shared().drain),
        producer_(region.slot(0)),
        consumer_(region.slot(1)) {}

  Result<DrainedQueue> run() {
    if (!ring::can_fence_peers())
      return Error(ErrorCode::kUnavailable, "the system has no membarrier, by which a stream is drained");
    DrainRecord& last = record();
    const bool resumed = last.begin.load() == kUndecided;  // its manager died of it
    if (!resumed && last.end_number.load() > last.begin.load() && consumer_.position.load() < last.end.load())
      return DrainedQueue{.messages = {}, .before = before(), .more = false, .pending = true};
    shut();
    Status walked = walk(resumed ? last.end.load() : kUndecided);
    if (walked && !entries_.empty()) {
      if (!resumed) begin_record();
      mark();
    }
    drain_.gate.store(0);
    if (!walked) {
      region_.shared().broken.store(1);
      return std::move(walked).error();
    }
    std::uint64_t undecided = kUndecided;
    if (entries_.empty() && resumed)  // its consumer has passed it all
      last.begin.compare_exchange_strong(undecided, last.end_number.load());
    if (entries_.empty())
      return DrainedQueue{.messages = {}, .before = before_, .more = false, .pending = false};
    decide();
    return result();
  }

 private:
  [[nodiscard]] DrainRecord& record() const { return drain_.record[drain_.current.load() & 1U]; }
  [[nodiscard]] std::uint64_t before() const { return request_.before.value_or(producer_.count.load()); }
  [[nodiscard]] std::atomic<std::uint64_t>& word_at(std::uint64_t at) const {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(region_.data() +
                                                          (at & (region_.geometry().data_size - 1)));
  }

  /// From here on no message is begun: so no place that a word stands in now is used again before the gate
  /// opens, however far the consumer comes.
  void shut() {
    drain_.gate.store(drain_.turns.fetch_add(1) + 1);
    region_.shared().epoch.fetch_add(1);
    ring::fence_peers();
  }

  /// All whole messages from the consumer on, as far as wanted; up to `end` where a record says so.
  Status walk(std::uint64_t end) {
    std::uint64_t at = consumer_.position.load(kAcquire);
    std::uint64_t number = consumer_.count.load(kAcquire);
    const std::uint64_t begin = at;
    if (begin % 8 != 0) return impossible();
    before_ = before();
    // A record that was made before is as long as it is.
    DrainRequest request = request_;
    if (end != kUndecided) request.most = ring::kMostDrained;
    Bounds bounds(request);
    Entry entry;
    bool inside = false;
    for (std::size_t words = 0; words < kMostWords && at - begin < region_.geometry().data_size && at < end;
         ++words) {
      const std::uint64_t word = word_at(at).load(kAcquire) & ~kWordDrained;
      if (word == 0 || (word & kWordGrowing) != 0) break;
      if (at == begin) number -= static_cast<std::uint16_t>(number - (word >> 32));
      const std::uint64_t size = (word & ring::kWordSize) - 1;
      if ((word & ring::kWordSize) == 0 || size > region_.spec().bytes / 2 + 8 ||
          static_cast<std::uint16_t>(word >> 32) != static_cast<std::uint16_t>(number) ||
          (word >> 48 << 48 & ~ring::kWordKnown) != 0)
        return impossible();
      if (!inside) entry = Entry{.number = number, .start = at, .headless = (word & kWordNext) != 0};
      inside = true;
      entry.words.push_back(at);
      MVM_TRY(add(entry, word, at + 8, size));
      at += 8 + ring::padded(size);
      entry.end = at;
      if ((word & (kWordMore | kWordAbort)) != 0) continue;
      inside = false;
      ++number;
      if (end == kUndecided && entry.number >= before_) break;
      if (const auto wanted = bounds.add(entry.message.size); wanted || end != kUndecided) {
        entry.message.number = entry.number;
        if (!wanted) entry.message.head.clear();
        entries_.push_back(std::exchange(entry, {}));
        continue;
      }
      more_ = true;
      break;
    }
    // A lone message that its consumer is in the middle of cannot be had.
    if (!entries_.empty() && entries_.size() == 1 && entries_.front().headless) entries_.clear();
    return ok();
  }

  /// One fragment, or the whole.
  Status add(Entry& entry, std::uint64_t word, std::uint64_t at, std::uint64_t size) const {
    const std::byte* from = region_.data() + (at & (region_.geometry().data_size - 1));
    entry.payload += size;
    if ((word & kWordAbort) != 0) {
      entry.message = {};
      return ok();
    }
    if ((word & kWordNext) == 0) entry.message.size = size;
    if ((word & kWordFirst) != 0) {
      if (size < 8) return impossible();
      ring::copy_unclaimed(&entry.message.size, from, 8);
      if (entry.message.size > ring::kMaxMessage) return impossible();
      from += 8;
      size -= 8;
    }
    const std::uint64_t had = entry.message.head.size();
    const std::uint64_t wanted = std::min(size, request_.preview > had ? request_.preview - had : 0);
    entry.message.head.resize(had + wanted);
    ring::copy_unclaimed(entry.message.head.data() + had, from, wanted);
    return ok();
  }

  void begin_record() {
    const std::uint64_t current = drain_.current.load();
    const DrainRecord& old = drain_.record[current & 1U];
    DrainRecord& next = drain_.record[(current + 1) & 1U];
    next.before.store(old.before.load() + old.end_number.load() - old.begin.load());
    next.bytes_before.store(old.bytes_before.load() + old.bytes.load());
    next.bytes.store(0);
    next.end.store(entries_.back().end);
    next.end_number.store(entries_.back().number + 1);
    next.begin.store(kUndecided);
    drain_.current.store(current + 1);
  }

  /// In any order: whoever meets one goes by the record, to its end.
  void mark() {
    for (const Entry& entry : entries_)
      for (const std::uint64_t word : entry.words)
        word_at(word).fetch_or(kWordDrained, std::memory_order_acq_rel);
  }

  /// The consumer says itself where it is, if it comes to a mark soon. Else we do: it may be reading the
  /// message that it has come to, and all that it says it has taken, but no others.
  void decide() {
    DrainRecord& now = record();
    ring::fence_peers();
    const bool living =
        consumer_.state.load() == ring::kAttached && (consumer_.supervised.load() != 0 || region_.claimed(1));
    const std::int64_t until = ring::now_ns() + kConsumerLooks;
    while (living && now.begin.load() == kUndecided && ring::now_ns() < until) {
      const timespec nap{0, 50'000};
      ::nanosleep(&nap, nullptr);
    }
    const std::uint64_t position = consumer_.position.load(kAcquire);
    const std::uint64_t taken = consumer_.progress.load(kAcquire);
    std::uint64_t first = now.end_number.load();
    for (const Entry& entry : entries_) {
      const bool reads = living && (entry.start <= position || entry.start < taken);
      if (reads || entry.headless || entry.start < position) continue;
      first = entry.number;
      break;
    }
    std::uint64_t undecided = kUndecided;
    now.begin.compare_exchange_strong(undecided, first);
  }

  Result<DrainedQueue> result() {
    DrainRecord& now = record();
    DrainedQueue drained{.messages = {}, .before = before_, .more = more_, .pending = false};
    const std::uint64_t begin = now.begin.load();
    std::uint64_t bytes = 0;
    for (Entry& entry : entries_) {
      if (entry.number < begin) continue;
      bytes += entry.payload;
      drained.messages.push_back(std::move(entry.message));
    }
    // As its consumer does when it passes over them.
    now.bytes.store(bytes);
    detail::wake(region_.shared().data);
    return drained;
  }

  ring::Region& region_;
  const DrainRequest& request_;
  ring::Drain& drain_;
  const ring::Slot& producer_;
  const ring::Slot& consumer_;
  std::vector<Entry> entries_;
  std::uint64_t before_ = 0;
  bool more_ = false;
};

// ---- claims ----

/// A message that is ours: nobody touches its place or its bytes until we give them back.
Result<PeekedMessage> message_at(const ring::Region& region, const ring::Place& place, std::uint64_t ticket,
                                 std::uint64_t wanted) {
  const std::uint64_t word = place.word.load(kAcquire);
  const std::uint64_t meta = place.meta.load(kRelaxed);
  const std::uint64_t room = meta >> 32 & ((1U << 29) - 1);
  const std::uint64_t prefix = (meta & ring::kClaimKeyed) != 0 ? ring::kClaimUnit : 0;
  PeekedMessage message;
  message.number = ticket;
  message.size = meta & 0xffff'ffffU;
  if (room > ring::claim_units(region.spec().bytes / 2) + 1 ||
      prefix + message.size > room * ring::kClaimUnit)
    return impossible();
  const std::byte* const at = region.data() + (((ring::PlaceWord::end(word) - room) * ring::kClaimUnit) &
                                               (region.geometry().data_size - 1));
  if (prefix != 0) ring::copy_unclaimed(&message.key, at, sizeof message.key);
  message.head.resize(std::min(wanted, message.size));
  ring::copy_unclaimed(message.head.data(), at + prefix, message.head.size());
  return message;
}

Result<DrainedQueue> drain_claims(ring::Region& region, const DrainRequest& request) {
  const ring::Places places(region);
  ring::ClaimTable& table = region.claim_table();
  ring::settle_drain(region);  // what a manager left who died
  DrainedQueue drained;
  const std::uint64_t tail =
      region.spec().producers == 1 ? region.slot(0).count.load(kAcquire) : table.tail.load(kAcquire);
  drained.before = request.before.value_or(tail);
  Bounds bounds(request);
  table.draining.store(1);
  Status copied = ok();
  for (std::uint64_t ticket = tail - std::min(tail, places.count());
       ticket < std::min(tail, drained.before) && copied; ++ticket) {
    ring::Place& place = places.at(ticket);
    std::uint64_t word = place.word.load(kAcquire);
    const std::uint32_t state = ring::PlaceWord::state(word);
    if (places.ahead(word, ticket) != 0 || (state != ring::kPlaceReady && state != ring::kPlaceAgain))
      continue;
    Bounds next = bounds;
    const auto wanted = next.add(place.meta.load(kRelaxed) & 0xffff'ffffU);
    if (!wanted) {
      drained.more = true;
      break;
    }
    if (!place.word.compare_exchange_strong(
            word, ring::PlaceWord::changed(word, ring::kPlaceDrained, ring::PlaceWord::owner(word)),
            std::memory_order_acq_rel, kRelaxed))
      continue;
    bounds = next;
    auto message = message_at(region, place, ticket, *wanted);
    if (message) {
      message->redelivered = state == ring::kPlaceAgain;
      drained.messages.push_back(std::move(*message));
    } else {
      copied = std::move(message).error();
    }
  }
  ring::settle_drain(region);
  detail::wake(region.shared().space);
  if (!copied) {
    region.shared().broken.store(1);
    return std::move(copied).error();
  }
  return drained;
}

// ---- cells ----

/// With the lock held.
Result<DrainedQueue> drain_cells(ring::Region& region, ring::CellBook& book, const DrainRequest& request) {
  if (region.spec().ttl_ms != 0) book.expire();
  DrainedQueue drained;
  drained.before = request.before.value_or(book.table().next_number.load(kRelaxed));
  std::vector<std::uint32_t> waiting;
  for (std::uint32_t i = 0; i < region.geometry().cell_count; ++i)
    if (region.cell(i).state.load(kRelaxed) == ring::kReady &&
        region.cell(i).number.load(kRelaxed) < drained.before)
      waiting.push_back(i);
  std::sort(waiting.begin(), waiting.end(), [&](std::uint32_t a, std::uint32_t b) {
    const ring::Cell& one = region.cell(a);
    const ring::Cell& other = region.cell(b);
    if (one.priority.load(kRelaxed) != other.priority.load(kRelaxed))
      return one.priority.load(kRelaxed) > other.priority.load(kRelaxed);
    return one.number.load(kRelaxed) < other.number.load(kRelaxed);
  });
  Bounds bounds(request);
  for (const std::uint32_t index : waiting) {
    ring::CellCopy copy;
    if (!book.locate(index, copy)) return impossible();
    const auto wanted = bounds.add(copy.size);
    if (!wanted) {
      drained.more = true;
      break;
    }
    const ring::Cell& cell = region.cell(index);
    PeekedMessage message;
    message.number = cell.number.load(kRelaxed);
    message.size = copy.size;
    message.key = cell.key.load(kRelaxed);
    message.priority = cell.priority.load(kRelaxed);
    message.redelivered = (cell.flags.load(kRelaxed) & ring::kCellRedelivered) != 0;
    message.head.resize(*wanted);
    ring::copy_unclaimed(message.head.data(), region.data() + copy.offset, *wanted);
    if (!book.drain(index)) return impossible();
    drained.messages.push_back(std::move(message));
  }
  return drained;
}

}  // namespace

Result<DrainedQueue> Queue::drain(const DrainRequest& request) {
  ring::Region& region = impl_->region;
  if (region.shared().broken.load() != 0) return impossible();
  const std::int64_t until = ring::now_ns() + detail::kManagerPatience;
  detail::ManagerTurn turn(*impl_);
  if (!turn.take(until)) return Error(ErrorCode::kTimeout, "another one is closing or draining this queue");
  if (region.geometry().mode == ring::kStream) return StreamDrain(region, request).run();
  if (region.geometry().mode == ring::kClaims) return drain_claims(region, request);
  ring::CellBook book(region);
  if (!book.lock(region.slot_count(), until))
    return Error(ErrorCode::kTimeout, "the queue's lock is held by a process that is stopped");
  auto drained = drain_cells(region, book, request);
  const bool broken = book.broken();
  book.unlock();
  detail::wake(region.shared().space);
  if (broken) return impossible();
  return drained;
}

}  // namespace mvm::queuevm
