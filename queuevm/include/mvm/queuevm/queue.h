#pragma once
// A queue of the queue-level VM: one shared-memory file that holds the messages of a link and the states of
// its ends. The layout is docs/formats/ring.md.
//
// How a link becomes queues, inside one memory domain:
//   one-of     one queue; all producers and all consumers share it, the consumers compete
//   every-one  a queue per consumer, each with all producers; the out port feeds them all
//   by-key     a queue per consumer, each with all producers; the out port picks by key
// Where an end lies in another domain, a proxy (proxy.h) takes that end's slot here.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::queuevm {

enum class QueueKind { kFifo, kPriority, kLatest };
enum class WhenFull { kBlock, kDropOldest, kDropNewest, kFail };
enum class Deliver { kOneOf, kEveryOne, kByKey };

/// The topology's names: "fifo", "drop-oldest", "one-of", ... and back (nothing where the name is unknown).
[[nodiscard]] std::string_view to_string(QueueKind kind);
[[nodiscard]] std::string_view to_string(WhenFull rule);
[[nodiscard]] std::string_view to_string(Deliver rule);
[[nodiscard]] std::optional<QueueKind> queue_kind_from(std::string_view name);
[[nodiscard]] std::optional<WhenFull> when_full_from(std::string_view name);
[[nodiscard]] std::optional<Deliver> deliver_from(std::string_view name);

/// What a topology's <queue> says, plus how many ends this queue has.
struct QueueSpec {
  QueueKind kind = QueueKind::kFifo;
  std::uint64_t capacity = 1024;  ///< messages, 1 .. 1048576 (65536 unless fifo with one end each side)
  std::uint64_t bytes = 1 << 20;  ///< of payload, 4096 .. 4 GiB; one message is at most half of it
  WhenFull when_full = WhenFull::kBlock;
  std::optional<std::chrono::nanoseconds> timeout;  ///< of kBlock; nothing: for ever
  std::optional<std::chrono::milliseconds> ttl;     ///< messages that wait longer are dropped; up to 24 days
  Deliver deliver = Deliver::kOneOf;                ///< of the link; kept for whoever looks at the queue
  std::uint32_t producers = 1;                      ///< slots, 1 .. 4096
  std::uint32_t consumers = 1;                      ///< slots, 1 .. 4096
  bool fragments =
      true;  ///< fifo with one end each side that blocks: cut messages above half of `bytes`, up to
             ///< 1 GiB. False where another queue of the same link, in another domain, is no such one.
  std::uint64_t id = 0;  ///< the link's number in its lab, not used by the queue itself
};

/// kInvalid with the bound that is broken.
[[nodiscard]] Status validate(const QueueSpec& spec);

/// The number of bytes of shared memory a queue of this kind takes.
[[nodiscard]] std::uint64_t file_size(const QueueSpec& spec);

enum class Side { kProducer, kConsumer };

/// One end of a queue: its side, and its slot there (0-based).
struct End {
  Side side = Side::kProducer;
  std::uint32_t slot = 0;
};

/// Where an end stands. kAbsent: expected, nobody came yet. kDone: closed in order. kDead: its process ended
/// without closing it.
enum class EndState { kAbsent, kAttached, kDone, kDead };
[[nodiscard]] std::string_view to_string(EndState state);

/// Counters of a queue since its creation. depth = enqueued - dequeued - dropped_oldest - expired - drained.
struct QueueStats {
  std::uint64_t depth = 0;           ///< messages in the queue, those peeked and not released included
  std::uint64_t bytes = 0;           ///< payload bytes in the queue
  std::uint64_t enqueued = 0;        ///< messages that entered
  std::uint64_t dequeued = 0;        ///< messages that left to a consumer
  std::uint64_t dropped_oldest = 0;  ///< left the queue unread, to make room
  std::uint64_t expired = 0;         ///< left the queue unread, having waited longer than its time to live
  std::uint64_t drained = 0;         ///< taken away by drain()
  std::uint64_t dropped_newest = 0;  ///< never entered
  std::uint64_t refused = 0;         ///< enqueue calls that failed because the queue was full
  std::uint64_t redelivered = 0;     ///< put back because their consumer died
  std::uint64_t bytes_enqueued = 0;
  std::uint64_t bytes_dequeued = 0;
  std::uint32_t waiting_producers = 0;
  std::uint32_t waiting_consumers = 0;
  /// How long messages took from their commitment to their release by a consumer: of the latest 4096 to 8192
  /// that were timed, about one a millisecond. Exact to 6 %, and to 20 minutes.
  std::uint64_t latency_samples = 0;
  std::chrono::nanoseconds latency_p50{0};  ///< 0 where there are no samples
  std::chrono::nanoseconds latency_p99{0};
};

/// A message as an observer saw it.
struct PeekedMessage {
  std::uint64_t number = 0;  ///< of the queue's messages, from 0 in the order in which they entered
  std::uint64_t size = 0;
  std::uint64_t key = 0;
  std::uint32_t priority = 0;
  bool redelivered = false;
  bool taken = false;  ///< a consumer holds it and has not released it (a stream does not tell)
  std::optional<std::chrono::nanoseconds> age;  ///< where it is a sample, or the queue has a time to live
  std::string head;                             ///< its first bytes
};

/// What an observer saw.
struct PeekedQueue {
  std::vector<PeekedMessage> messages;  ///< in the order in which they will leave
  /// False: messages left while this looked, however often it began anew. What is told was there all the
  /// same, whole, each at some moment of the call; others may be missing.
  bool steady = true;
};

/// Which messages are to be taken away, and how much of them is wanted.
struct DrainRequest {
  std::size_t most = 1024;    ///< messages at once, 1 .. 32768
  std::uint64_t preview = 0;  ///< of each message its first bytes
  std::uint64_t room =
      1 << 20;  ///< for these of all together; a message that finds none stays, but for the first
  std::optional<std::uint64_t> before;  ///< only messages with smaller numbers; nothing: what is there now
};

/// What was taken away.
struct DrainedQueue {
  std::vector<PeekedMessage> messages;  ///< in the order in which they would have left
  std::uint64_t before = 0;             ///< for a next call that goes on: no later messages than by now
  bool more = false;                    ///< the bounds were met: such a call finds some
  /// A stream's consumer has not looked at its queue since an earlier drain: it has to pass over these first,
  /// and nothing more is taken until then.
  bool pending = false;
};

/// One message as it lies in the queue.
struct MessageView {
  std::span<const std::byte> data;
  std::uint64_t key = 0;
  std::uint32_t priority = 0;
  bool redelivered = false;
  bool fragment = false;    ///< only a part of a message: its bytes alone make no sense
  std::uint64_t token = 0;  ///< names it for Consumer::release
};

/// The result of a call that may have to wait.
enum class Outcome {
  kDone,
  kWouldBlock,   ///< nothing there, or full
  kEndOfStream,  ///< the other side closed in order
  kPeerDead,     ///< the other side died
  kDropped,      ///< the full queue's rule dropped this message
  kFull,         ///< the full queue's rule is to fail
};

namespace detail {
struct QueueImpl;
struct EndImpl;
}  // namespace detail

/// The producing end of a queue, for proxies and gateways (a job's processes use libmvm). One thread at a
/// time. Destroying it leaves the slot as it is: call close(), or let Queue::close_end speak for it.
class Producer {
 public:
  /// Attaches through a descriptor of the caller's own, as Queue::open_descriptor() makes one, to a queue
  /// that cannot be opened afresh from here. Fails as Queue::producer().
  [[nodiscard]] static Result<Producer> adopt(UniqueFd own, std::uint32_t slot, bool supervised = false);
  Producer(Producer&&) noexcept;
  Producer& operator=(Producer&&) noexcept;
  ~Producer();

  /// Enqueues without waiting. kInvalid above half of the queue's bytes; kCorrupt where the memory is broken.
  [[nodiscard]] Result<Outcome> try_put(std::span<const std::byte> data, std::uint32_t priority = 0,
                                        std::uint64_t key = 0);
  /// As try_put, but waits up to `timeout` while it would block.
  [[nodiscard]] Result<Outcome> put(std::span<const std::byte> data, std::chrono::nanoseconds timeout,
                                    std::uint32_t priority = 0, std::uint64_t key = 0);
  /// How many messages this slot has put since the queue was made, by whatever process held it.
  [[nodiscard]] std::uint64_t count() const;
  /// Closes the end: kDone or kDead. Idempotent.
  Status close(EndState how);

 private:
  friend class Queue;
  friend class Waiter;
  explicit Producer(std::unique_ptr<detail::EndImpl> impl);
  std::unique_ptr<detail::EndImpl> impl_;
};

/// The consuming end of a queue, for proxies and gateways. One thread at a time. Several messages may be
/// taken before the first is released; a taken one stays in the queue's memory, and is delivered again if
/// this end's process dies.
class Consumer {
 public:
  /// As Producer::adopt().
  [[nodiscard]] static Result<Consumer> adopt(UniqueFd own, std::uint32_t slot, bool supervised = false);
  Consumer(Consumer&&) noexcept;
  Consumer& operator=(Consumer&&) noexcept;
  ~Consumer();

  /// The next message, without waiting. On kDone `message` is filled; its bytes stay valid until released.
  [[nodiscard]] Result<Outcome> try_take(MessageView& message);
  [[nodiscard]] Result<Outcome> take(MessageView& message, std::chrono::nanoseconds timeout);
  /// Removes a taken message. Oldest first.
  Status release(const MessageView& message);
  /// How many messages this slot has released since the queue was made.
  [[nodiscard]] std::uint64_t count() const;
  Status close(EndState how);

 private:
  friend class Queue;
  friend class Waiter;
  explicit Consumer(std::unique_ptr<detail::EndImpl> impl);
  std::unique_ptr<detail::EndImpl> impl_;
};

/// A queue's file, mapped. Thread-safe for spec, stats, end_states and close_end. [MVM 003, §2.2]
///
/// The first queue a process opens installs a SIGBUS handler: a named file that one of its users cuts short
/// then costs that queue, not the process.
class Queue {
 public:
  /// Makes the file (it must not exist: kExists) and touches its pages, so that they are charged to the
  /// caller. `mode` are the file's permissions, the umask notwithstanding.
  [[nodiscard]] static Result<Queue> create(const std::filesystem::path& path, const QueueSpec& spec,
                                            unsigned mode = 0600);
  /// The same without a name, for a guest: a memfd.
  [[nodiscard]] static Result<Queue> create_in_memory(const QueueSpec& spec, const std::string& name);
  /// Opens an existing file. kCorrupt where its header breaks the format.
  [[nodiscard]] static Result<Queue> open(const std::filesystem::path& path);
  /// Takes a descriptor of a queue's file, opened for reading and writing.
  [[nodiscard]] static Result<Queue> adopt(UniqueFd fd);

  Queue(Queue&&) noexcept;
  Queue& operator=(Queue&&) noexcept;
  ~Queue();

  [[nodiscard]] const QueueSpec& spec() const;
  [[nodiscard]] QueueStats stats() const;
  [[nodiscard]] std::vector<EndState> end_states(Side side) const;

  /// A fresh descriptor with an open file description of its own, to be given to exactly one process: locks
  /// on it tell whether that process lives. Never give the same one to two processes.
  [[nodiscard]] Result<UniqueFd> open_descriptor() const;

  /// The word of the one who reaps processes: that end's process is gone. kDone where it ended well, kDead
  /// otherwise. Peers learn it at once; what a dead consumer had peeked is put back. An end that is closed
  /// already stays as it is. kTimeout where the queue's lock is held by a stopped process for over two
  /// seconds.
  Status close_end(End end, EndState how);
  /// Closes an end in order that nobody took yet: whoever comes for it is refused. False: it was taken, or
  /// closed, before.
  [[nodiscard]] bool close_absent(End end);
  /// close_end on every slot of both sides that is still open; used when a lab is torn down.
  Status close_all(EndState how);
  /// Wakes whoever waits on the queue, to look at the wiring table again.
  void wake_all();

  /// What waits, in the order in which it will leave: the first `most` messages, each with at most `preview`
  /// bytes. The memory is mapped anew, to be read only; nothing is locked or taken, and no process of the
  /// queue notices. Nothing that is read is believed (docs/formats/ring.md, "Observers"). kCorrupt where the
  /// memory holds impossible values.
  [[nodiscard]] Result<PeekedQueue> peek(std::size_t most, std::size_t preview) const;

  /// Takes the messages away that wait, as they stand in the order in which they would leave. What a consumer
  /// holds stays; so does the first message of a stream whose consumer does not say within some milliseconds
  /// that it does not read it just now. They count as `drained`; no process loses its place for it, and any
  /// may die (docs/formats/ring.md, "Draining"). kTimeout where another manager is at it; kUnavailable where
  /// the system cannot fence other processes.
  [[nodiscard]] Result<DrainedQueue> drain(const DrainRequest& request);

  /// Attaches to a slot. kConflict where another process holds it or it is closed. `supervised`: peers do not
  /// infer the death of this end, only close_end tells it (a proxy that may be restarted).
  [[nodiscard]] Result<Producer> producer(std::uint32_t slot, bool supervised = false) const;
  [[nodiscard]] Result<Consumer> consumer(std::uint32_t slot, bool supervised = false) const;

 private:
  explicit Queue(std::unique_ptr<detail::QueueImpl> impl);
  std::unique_ptr<detail::QueueImpl> impl_;
};

/// Waits for several ends at once, and can be woken by another thread.
class Waiter {
 public:
  Waiter();
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// Returns when one of the consumers has something to take (or its stream ended), one of the producers may
  /// put, wake() was called, or `timeout` passed. No more than 127 ends.
  void wait(std::span<const Consumer* const> consumers, std::span<const Producer* const> producers,
            std::chrono::nanoseconds timeout);
  /// Ends a wait() running now, or the next one. Any thread.
  void wake();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mvm::queuevm
