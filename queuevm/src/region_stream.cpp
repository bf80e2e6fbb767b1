// Two rings of bytes in memory that two machines share: docs/formats/region.md.
//
// Everything that the other side writes may be wrong at any time. Our own places are kept here and never read
// back; the other side's are read once and checked; bytes are copied out before anybody looks at them. No
// membarrier reaches another machine, so all fences are full ones; they also order memory that collects
// writes.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "mvm/queuevm/region.h"

namespace mvm::queuevm {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::size_t kPiece = 32 << 10;  // copied before the other side is told: it copies meanwhile
constexpr char kBell = 1;

/// Of one ring what its writer alone writes.
struct alignas(64) WriterLine {
  std::atomic<std::uint64_t> session;
  std::atomic<std::uint64_t> head;   // bytes ever written in the session
  std::atomic<std::uint64_t> waits;  // odd: sleeps until there is room
};

/// And what its reader alone writes.
struct alignas(64) ReaderLine {
  std::atomic<std::uint64_t> session;
  std::atomic<std::uint64_t> tail;    // bytes ever read
  std::atomic<std::uint64_t> sleeps;  // odd: sleeps until there are bytes
};

struct RingHead {
  WriterLine writer;
  ReaderLine reader;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(RingHead) == 128);

/// A ring as it lies in the region.
struct Ring {
  RingHead* head = nullptr;
  std::byte* data = nullptr;
  std::uint64_t capacity = 0;

  static Ring at(std::byte* begin, std::uint64_t bytes) {
    return {reinterpret_cast<RingHead*>(begin), begin + sizeof(RingHead), bytes - sizeof(RingHead)};
  }
  /// What lies between two places, if any two that far apart can be a reader's and a writer's.
  [[nodiscard]] Result<std::uint64_t> between(std::uint64_t tail, std::uint64_t head_place) const {
    if (head_place - tail <= capacity) return head_place - tail;
    return Error(ErrorCode::kCorrupt, "a peer's place in shared memory is impossible");
  }
};

void fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

/// A word of ours that is odd while we sleep: each sleep has a number of its own.
class Asleep {
 public:
  void reset(std::atomic<std::uint64_t>& word) {
    word_ = &word;
    value_ = 0;
    word.store(0, std::memory_order_relaxed);
  }
  void set(bool asleep) {
    if (((value_ & 1U) != 0) == asleep) return;
    word_->store(++value_, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t>* word_ = nullptr;
  std::uint64_t value_ = 0;
};

}  // namespace

struct RegionStreams::Parts {
  explicit Parts(std::shared_ptr<Region> all) : region(std::move(all)) {}
  const std::shared_ptr<Region> region;
  std::mutex mutex;
  std::map<std::string, RegionPart> of;  // by peer
};

namespace {

class RegionStream final : public ByteStream {
 public:
  RegionStream(UniqueFd socket, bool dialled, std::shared_ptr<RegionStreams::Parts> parts)
      : socket_(make_tcp_stream(std::move(socket), dialled)), dialled_(dialled), parts_(std::move(parts)) {}

  Result<std::size_t> read(std::span<std::byte> buffer) override {
    if (!joined_) return socket_->read(buffer);
    wake_up();
    MVM_ASSIGN(std::uint64_t there, readable());
    if (there == 0) {
      MVM_ASSIGN(const bool rang, hear());
      if (rang) {
        MVM_ASSIGN(there, readable());
      }
    }
    const std::size_t count = std::min<std::uint64_t>(there, buffer.size());
    if (count == 0) return std::size_t{0};
    fence();
    const std::size_t place = tail_ % in_.capacity;
    const std::size_t first = std::min<std::uint64_t>(count, in_.capacity - place);
    std::memcpy(buffer.data(), in_.data + place, first);
    std::memcpy(buffer.data() + first, in_.data, count - first);
    fence();
    tail_ += count;
    in_.head->reader.tail.store(tail_, std::memory_order_release);
    fence();
    // Not for each little room: the writer would be woken for every piece.
    if (there - count <= in_.capacity / 2) wake(in_.head->writer.waits, rang_waits_);
    return count;
  }

  Result<std::size_t> write(std::span<const std::byte> bytes) override {
    if (plain_ > 0 || !joined_) {
      const auto mine = joined_ ? bytes.first(std::min(bytes.size(), plain_)) : bytes;
      MVM_ASSIGN(const std::size_t put, socket_->write(mine));
      if (joined_) plain_ -= put;
      return put;
    }
    wake_up();
    std::size_t total = 0;
    while (total < bytes.size()) {
      MVM_ASSIGN(const std::uint64_t room, writable());
      const std::size_t count = std::min<std::uint64_t>({room, bytes.size() - total, kPiece});
      if (count == 0) break;
      const std::size_t place = head_ % out_.capacity;
      const std::size_t first = std::min<std::uint64_t>(count, out_.capacity - place);
      std::memcpy(out_.data + place, bytes.data() + total, first);
      std::memcpy(out_.data, bytes.data() + total + first, count - first);
      fence();
      head_ += count;
      total += count;
      out_.head->writer.head.store(head_, std::memory_order_release);
      fence();
      wake(out_.head->reader.sleeps, rang_sleeps_);
    }
    full_ = total < bytes.size();
    return total;
  }

  [[nodiscard]] int fd() const override { return socket_->fd(); }
  /// What the ring has no room for goes on when the peer rings.
  [[nodiscard]] bool ready() const override { return !joined_ || plain_ > 0; }

  Status established(const Session& session) override {
    RegionPart part;
    {
      const std::lock_guard lock(parts_->mutex);
      const auto found = parts_->of.find(session.peer);
      if (found == parts_->of.end())
        return Error(ErrorCode::kRefused, "there is no shared memory with " + session.peer);
      part = found->second;
    }
    std::byte* const begin = parts_->region->data() + part.offset;
    const Ring rings[] = {Ring::at(begin, part.bytes / 2), Ring::at(begin + part.bytes / 2, part.bytes / 2)};
    const bool lower = session.own < session.peer;
    out_ = rings[lower ? 0 : 1];
    in_ = rings[lower ? 1 : 0];
    session_ = session.number;
    plain_ = session.unsent;
    // What is there is of an earlier connection. Our side first begins anew, then belongs to this one: the
    // other side touches nothing before.
    out_.head->writer.head.store(0, std::memory_order_relaxed);
    in_.head->reader.tail.store(0, std::memory_order_relaxed);
    waits_.reset(out_.head->writer.waits);
    sleeps_.reset(in_.head->reader.sleeps);
    fence();
    out_.head->writer.session.store(session_, std::memory_order_release);
    in_.head->reader.session.store(session_, std::memory_order_release);
    joined_ = true;
    // Who dialled is the second to come here, and may ring: the other reads no greeting any more.
    if (dialled_) ring();
    return ok();
  }

  bool arm() override {
    if (!joined_ || plain_ > 0) return true;
    sleeps_.set(true);
    if (full_) waits_.set(true);
    fence();
    const auto there = readable();
    if (!there || *there > 0) return false;
    if (!full_) return true;
    const auto room = writable();
    return room && *room == 0;
  }

 private:
  void wake_up() {
    sleeps_.set(false);
    waits_.set(false);
  }

  [[nodiscard]] Result<std::uint64_t> readable() const {
    const WriterLine& theirs = in_.head->writer;
    if (theirs.session.load(std::memory_order_acquire) != session_) return std::uint64_t{0};
    return in_.between(tail_, theirs.head.load(std::memory_order_acquire));
  }

  [[nodiscard]] Result<std::uint64_t> writable() const {
    const ReaderLine& theirs = out_.head->reader;
    if (theirs.session.load(std::memory_order_acquire) != session_) return std::uint64_t{0};
    MVM_ASSIGN(const std::uint64_t used, out_.between(theirs.tail.load(std::memory_order_acquire), head_));
    return out_.capacity - used;
  }

  /// Rings where the other side says that it sleeps, once for each sleep.
  void wake(const std::atomic<std::uint64_t>& word, std::uint64_t& rang) {
    const std::uint64_t value = word.load(std::memory_order_relaxed);
    if ((value & 1U) == 0 || value == rang) return;
    rang = value;
    ring();
  }

  /// Where the socket is full the other side has enough to hear; where it is broken, read() learns it.
  void ring() const {
    const auto put = socket_->write(std::as_bytes(std::span(&kBell, 1)));
    static_cast<void>(put);
  }

  /// True where the other side rang. An error where it is gone.
  [[nodiscard]] Result<bool> hear() {
    std::array<std::byte, 256> bells;
    MVM_ASSIGN(const std::size_t got, socket_->read(bells));
    return got > 0;
  }

  const std::unique_ptr<ByteStream> socket_;
  const bool dialled_;
  const std::shared_ptr<RegionStreams::Parts> parts_;
  bool joined_ = false;    // the greeting is over
  std::size_t plain_ = 0;  // bytes of it that still go by the socket
  std::uint64_t session_ = 0;
  Ring in_, out_;
  std::uint64_t head_ = 0, tail_ = 0;               // our own places, in out_ and in_
  std::uint64_t rang_waits_ = 0, rang_sleeps_ = 0;  // for which sleep of the other side we rang last
  bool full_ = false;                               // not all of the last write had room
  Asleep sleeps_, waits_;
};

}  // namespace

RegionStreams::RegionStreams(std::shared_ptr<Region> region)
    : parts_(std::make_shared<Parts>(std::move(region))) {}

Status RegionStreams::give(const std::string& peer, RegionPart part) {
  const std::uint64_t all = parts_->region->size();
  if (part.bytes == 0 || part.bytes % kPage != 0 || part.offset % kPage != 0 || part.bytes > all ||
      part.offset > all - part.bytes)
    return Error(ErrorCode::kInvalid, "the part of the shared region for " + peer + " does not lie in it");
  const std::lock_guard lock(parts_->mutex);
  parts_->of[peer] = part;
  return ok();
}

StreamFactory RegionStreams::factory() const {
  return [parts = parts_](UniqueFd socket, bool dialled) {
    return std::make_unique<RegionStream>(std::move(socket), dialled, parts);
  };
}

}  // namespace mvm::queuevm
