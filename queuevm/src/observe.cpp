// Queue::peek: what waits in a queue, seen without an end of it. docs/formats/ring.md, "Observers".
#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "impl.h"
#include "ring/claims_quick.h"
#include "ring/futex.h"

namespace mvm::queuevm {
namespace {

using std::chrono::nanoseconds;

constexpr auto kAcquire = std::memory_order_acquire;
constexpr std::size_t kRounds = 16;
constexpr std::size_t kMostWords = 1U << 20;  // of one look

/// How a look at the queue ended.
enum class Look {
  kSteady,      ///< nothing that was read had left by then
  kMoved,       ///< something had: begin anew
  kImpossible,  ///< it cannot be what the queue's processes wrote
};

/// Bytes that others may be writing: believed only after a look at what says whether they were good, which
/// is not to be done before they are read.
std::string copy_of(const std::byte* from, std::uint64_t size) {
  std::string bytes(static_cast<std::size_t>(size), '\0');
  ring::copy_unclaimed(bytes.data(), from, size);
  std::atomic_thread_fence(kAcquire);
  return bytes;
}

nanoseconds age_since(std::int64_t then) {
  const std::uint64_t age = static_cast<std::uint64_t>(ring::now_ns()) - static_cast<std::uint64_t>(then);
  return nanoseconds(std::max<std::int64_t>(0, static_cast<std::int64_t>(age)));
}

/// How long a sample has been there, if its producer still speaks of it.
std::optional<nanoseconds> sample_age(const ring::Region& region, std::uint32_t producer,
                                      std::uint64_t number) {
  if (producer >= region.spec().producers) return std::nullopt;
  const ring::Slot& slot = region.slot(producer);
  if (slot.sample.load(kAcquire) != number + 1) return std::nullopt;
  const std::int64_t then = slot.sample_at.load(kAcquire);
  if (slot.sample.load(kAcquire) != number + 1) return std::nullopt;
  return age_since(then);
}

class Peek {
 public:
  Peek(const ring::Region& region, std::size_t most, std::size_t preview)
      : region_(region), most_(most), preview_(preview) {}

  Result<PeekedQueue> run() {
    PeekedQueue best{.messages = {}, .steady = false};
    for (std::size_t round = 0; round < kRounds; ++round) {
      found_.clear();
      const Look look = region_.geometry().mode == ring::kStream   ? look_at_stream()
                        : region_.geometry().mode == ring::kClaims ? look_at_claims()
                                                                   : look_at_cells();
      if (look == Look::kImpossible || region_.shared().broken.load() != 0)
        return Error(ErrorCode::kCorrupt, "the queue's shared memory holds impossible values");
      if (look == Look::kSteady) return PeekedQueue{.messages = std::move(found_), .steady = true};
      if (found_.size() >= best.messages.size()) best.messages.swap(found_);
    }
    return best;
  }

 private:
  [[nodiscard]] bool enough() const { return found_.size() >= most_; }
  [[nodiscard]] std::string head(const std::byte* from, std::uint64_t size) const {
    return copy_of(from, std::min<std::uint64_t>(size, preview_));
  }

  Look look_at_stream();
  bool add_stream(const std::byte* payload, std::uint64_t size, std::uint64_t word, std::uint64_t number);
  bool pass_drained(std::uint64_t& at, std::uint64_t& number) const;
  Look look_at_claims();
  Look look_at_place(const ring::Places& places, std::uint64_t ticket);
  Look look_at_cells();
  Look look_at_cell(std::uint32_t index, std::uint64_t number);

  const ring::Region& region_;
  const std::size_t most_, preview_;
  std::vector<PeekedMessage> found_;
};

// ---- stream ----

/// Behind what was drained, if the message with this number was.
bool Peek::pass_drained(std::uint64_t& at, std::uint64_t& number) const {
  const ring::Drain& drain = region_.shared().drain;
  const ring::DrainRecord& record = drain.record[drain.current.load(kAcquire) & 1U];
  const std::uint64_t begin = record.begin.load(kAcquire);
  const std::uint64_t end = record.end.load(std::memory_order_relaxed);
  const std::uint64_t end_number = record.end_number.load(std::memory_order_relaxed);
  if (number < begin || number >= end_number || end <= at || end - at > region_.geometry().data_size)
    return false;
  at = end;
  number = end_number;
  return true;
}

/// Follows the words from the consumer's position on. The producer writes only behind it: so what was read at
/// a position is good if the consumer, asked afterwards, has not passed it.
Look Peek::look_at_stream() {
  const ring::Slot& consumer = region_.slot(1);
  const std::uint64_t ring = region_.geometry().data_size;
  const std::uint64_t begin = consumer.position.load(kAcquire);
  const std::uint64_t counted = consumer.count.load(kAcquire);
  if (begin % 8 != 0) return Look::kImpossible;
  std::uint64_t number = counted;
  bool inside = false;  // a message of several fragments
  std::uint64_t at = begin;
  for (std::size_t words = 0; words < kMostWords && at - begin < ring; ++words) {
    const std::byte* const place = region_.data() + (at & (ring - 1));
    const std::uint64_t word = reinterpret_cast<const std::atomic<std::uint64_t>*>(place)->load(kAcquire);
    const std::uint64_t size = (word & ring::kWordSize) - 1;
    // The count may be ahead of the position: the words know.
    if (at == begin) number -= static_cast<std::uint16_t>(number - (word >> 32));
    const bool there = word != 0 && (word & ring::kWordGrowing) == 0;
    bool possible = true;
    bool added = false;
    if (there) {
      possible = (word & ring::kWordSize) != 0 && size <= region_.spec().bytes / 2 + 8 &&
                 static_cast<std::uint16_t>(word >> 32) == static_cast<std::uint16_t>(number) &&
                 (word >> 48 << 48 & ~(ring::kWordKnown | ring::kWordDrained)) == 0;
      if (possible && (word & ring::kWordDrained) != 0 && pass_drained(at, number)) {
        inside = false;
        continue;
      }
      const bool begins = !inside && (word & (ring::kWordNext | ring::kWordAbort)) == 0;
      if (possible && begins) {
        if (enough()) return Look::kSteady;
        possible = added = add_stream(place + 8, size, word, number);
      }
    }
    std::atomic_thread_fence(kAcquire);
    if (consumer.position.load(kAcquire) > at) {
      if (added) found_.pop_back();
      return Look::kMoved;
    }
    if (!there) return Look::kSteady;
    if (!possible) return Look::kImpossible;
    if ((word & ring::kWordAbort) != 0 && inside) found_.pop_back();
    inside = (word & ring::kWordMore) != 0 && (inside || (word & ring::kWordNext) == 0);
    if ((word & (ring::kWordMore | ring::kWordAbort)) == 0) ++number;
    at += 8 + ring::padded(size);
  }
  return Look::kSteady;
}

/// False where it cannot be.
bool Peek::add_stream(const std::byte* payload, std::uint64_t size, std::uint64_t word,
                      std::uint64_t number) {
  PeekedMessage message;
  message.number = number;
  message.size = size;
  if ((word & ring::kWordFirst) != 0) {
    if (size < 8) return false;
    ring::copy_unclaimed(&message.size, payload, 8);
    if (message.size > ring::kMaxMessage) return false;
    payload += 8;
    size -= 8;
  }
  message.head = head(payload, size);
  if ((word & ring::kWordSampled) != 0) message.age = sample_age(region_, 0, number);
  found_.push_back(std::move(message));
  return true;
}

// ---- claims ----

Look Peek::look_at_claims() {
  const ring::Places places(region_);
  const std::uint64_t tail = region_.spec().producers == 1 ? region_.slot(0).count.load(kAcquire)
                                                           : region_.claim_table().tail.load(kAcquire);
  const std::uint64_t begin = tail - std::min(tail, places.count());
  Look result = Look::kSteady;
  for (std::uint64_t ticket = begin; ticket - begin < 2 * places.count() && !enough(); ++ticket) {
    const std::uint64_t word = places.at(ticket).word.load(kAcquire);
    const int ahead = places.ahead(word, ticket);
    const std::uint32_t state = ring::PlaceWord::state(word);
    // The tail may lag behind; the first place that nobody has claimed is the end.
    if (ticket >= tail && (ahead < 0 || (ahead == 0 && state == ring::kPlaceFree))) break;
    if (state > ring::kPlaceDrained) return Look::kImpossible;
    if (ahead != 0 || state < ring::kPlaceReady || state == ring::kPlaceDrained) continue;
    const Look look = look_at_place(places, ticket);
    if (look == Look::kImpossible) return look;
    if (look == Look::kMoved) result = look;
  }
  return result;
}

/// A message's bytes are not used again before the word of its place says that it has left.
Look Peek::look_at_place(const ring::Places& places, std::uint64_t ticket) {
  const ring::Place& place = places.at(ticket);
  const std::uint64_t word = place.word.load(kAcquire);
  const std::uint64_t meta = place.meta.load(kAcquire);
  const std::uint64_t room = meta >> 32 & ((1U << 29) - 1);
  const std::uint64_t prefix = (meta & ring::kClaimKeyed) != 0 ? ring::kClaimUnit : 0;
  PeekedMessage message;
  message.number = ticket;
  message.size = meta & 0xffff'ffffU;
  message.taken = ring::PlaceWord::state(word) == ring::kPlaceHeld;
  message.redelivered = ring::PlaceWord::state(word) == ring::kPlaceAgain;
  const bool possible = room <= ring::claim_units(region_.spec().bytes / 2) + 1 &&
                        prefix + message.size <= room * ring::kClaimUnit;
  if (possible) {
    const std::uint64_t mask = region_.geometry().data_size - 1;
    const std::byte* const at =
        region_.data() + (((ring::PlaceWord::end(word) - room) * ring::kClaimUnit) & mask);
    if (prefix != 0) ring::copy_unclaimed(&message.key, at, sizeof message.key);
    message.head = head(at + prefix, message.size);
    if ((meta & ring::kClaimSampled) != 0 && ring::PlaceWord::state(word) == ring::kPlaceReady)
      message.age = sample_age(region_, ring::PlaceWord::owner(word), ticket);
  }
  std::atomic_thread_fence(kAcquire);
  const std::uint64_t after = place.word.load(kAcquire);
  const auto is_message = [&](std::uint64_t one) {
    return places.ahead(one, ticket) == 0 && ring::PlaceWord::state(one) >= ring::kPlaceReady &&
           ring::PlaceWord::state(one) != ring::kPlaceDrained;
  };
  if (!is_message(word) || !is_message(after)) return Look::kMoved;
  if (!possible) return Look::kImpossible;
  found_.push_back(std::move(message));
  return Look::kSteady;
}

// ---- cells ----

bool in_queue(std::uint32_t state) { return state == ring::kReady || state == ring::kTaken; }

Look Peek::look_at_cells() {
  struct Waiting {
    bool taken;
    std::uint32_t priority, index;
    std::uint64_t number;
  };
  std::vector<Waiting> all;
  for (std::uint32_t i = 0; i < region_.geometry().cell_count; ++i) {
    const ring::Cell& cell = region_.cell(i);
    const std::uint32_t state = cell.state.load(kAcquire);
    if (in_queue(state))
      all.push_back({state == ring::kTaken, cell.priority.load(), i, cell.number.load(kAcquire)});
  }
  std::sort(all.begin(), all.end(), [](const Waiting& a, const Waiting& b) {
    if (a.taken != b.taken) return a.taken;
    return a.priority != b.priority ? a.priority > b.priority : a.number < b.number;
  });
  Look result = Look::kSteady;
  for (const Waiting& one : all) {
    if (enough()) break;
    const Look look = look_at_cell(one.index, one.number);
    if (look == Look::kImpossible) return look;
    if (look == Look::kMoved) result = look;
  }
  return result;
}

/// A cell gets a new number before it holds another message.
Look Peek::look_at_cell(std::uint32_t index, std::uint64_t number) {
  const ring::Cell& cell = region_.cell(index);
  const std::uint32_t state = cell.state.load(kAcquire);
  const std::uint32_t flags = cell.flags.load(kAcquire);
  const std::uint64_t offset = cell.offset.load(kAcquire);
  const std::uint64_t room = region_.geometry().data_size;
  PeekedMessage message;
  message.number = number;
  message.size = cell.size.load(kAcquire);
  message.key = cell.key.load(kAcquire);
  message.priority = cell.priority.load(kAcquire);
  message.redelivered = (flags & ring::kCellRedelivered) != 0;
  message.taken = state == ring::kTaken;
  const bool possible = offset <= room && message.size <= room - offset && message.priority < ring::kLevels;
  if ((flags & ring::kCellSampled) != 0 || region_.spec().ttl_ms != 0) {
    const std::int64_t now = ring::now_ns();
    const auto ms = static_cast<std::uint32_t>(now / 1'000'000) - cell.born_ms.load(kAcquire);
    message.age = std::chrono::milliseconds(ms);
  }
  if (possible) message.head = head(region_.data() + offset, message.size);
  std::atomic_thread_fence(kAcquire);
  if (!in_queue(state) || !in_queue(cell.state.load(kAcquire)) || cell.number.load(kAcquire) != number)
    return Look::kMoved;
  if (!possible) return Look::kImpossible;
  found_.push_back(std::move(message));
  return Look::kSteady;
}

}  // namespace

Result<PeekedQueue> Queue::peek(std::size_t most, std::size_t preview) const {
  UniqueFd fd(::fcntl(impl_->region.fd(), F_DUPFD_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, "a descriptor to look into a queue");
  ring::Region observed;
  std::string why;
  if (const int result = observed.open(fd.get(), why, true); result != MVM_OK)
    return Error(result == MVM_ECORRUPT ? ErrorCode::kCorrupt : ErrorCode::kIo, why);
  static_cast<void>(fd.release());
  return Peek(observed, most, preview).run();
}

}  // namespace mvm::queuevm
