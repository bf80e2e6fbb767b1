// SPDX-License-Identifier: Apache-2.0
#pragma once
// The layout of a queue's shared memory: docs/formats/ring.md. Data only; behaviour is in stream.h,
// claims.h and cells.h. Nothing here names a process: ends are slots, and whether a slot's process lives is
// asked of the kernel.

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mvm::ring {

inline constexpr std::uint64_t kMagic = 0x4555'4555'514d'564dULL;  // "MVMQUEUE" read as little-endian
inline constexpr std::uint32_t kVersion = 5;
inline constexpr std::uint32_t kByteOrder = 0x01020304;

enum Mode : std::uint32_t { kStream = 1, kCells = 2, kClaims = 3 };
enum Kind : std::uint32_t { kFifo = 0, kPriority = 1, kLatest = 2 };
enum Rule : std::uint32_t { kBlock = 0, kDropOldest = 1, kDropNewest = 2, kFail = 3 };
enum SlotState : std::uint32_t { kAbsent = 0, kAttached = 1, kDone = 2, kDead = 3 };
enum class Side : std::uint32_t { kProducer = 0, kConsumer = 1 };

inline constexpr std::uint64_t kMaxStreamMessages = 1U << 20;
inline constexpr std::uint64_t kMaxCells = 1U << 16;
inline constexpr std::uint64_t kMinBytes = 4096;
inline constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 32;
inline constexpr std::uint32_t kMaxSlots = 4096;
inline constexpr std::uint32_t kLevels = 256;                           // priorities
inline constexpr std::uint64_t kMaxTtl = (std::uint64_t{1} << 31) - 1;  // ms: 24 days
inline constexpr std::uint64_t kMaxMessage = std::uint64_t{1} << 30;

/// What the creator chose. Copied to private memory and checked when a queue is opened; never read again.
struct Spec {
  std::uint32_t kind = kFifo;
  std::uint32_t when_full = kBlock;
  std::uint32_t deliver = 0;
  std::uint32_t producers = 1;
  std::uint32_t consumers = 1;
  std::uint32_t fragments = 1;  // 1: messages above half of the bytes may be cut (stream only)
  std::uint64_t capacity = 1024;
  std::uint64_t bytes = 1U << 20;
  std::int64_t timeout_ns = -1;  // of kBlock; -1: for ever
  std::uint64_t id = 0;
  std::uint64_t ttl_ms = 0;  // messages that wait longer are dropped; 0: none
};

/// Where the parts lie; follows from the Spec alone.
struct Geometry {
  std::uint32_t mode = 0;
  std::uint32_t cell_count = 0;
  std::uint64_t slots_at = 0;
  std::uint64_t cells_at = 0;
  std::uint64_t data_at = 0;
  std::uint64_t data_size = 0;
  std::uint64_t file_size = 0;
};

struct Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t byte_order;
  Spec spec;
  Geometry geometry;
};

/// Where sleepers of one kind sleep. `sleepers` is 1 where somebody may be asleep on `step`.
struct alignas(64) Event {
  std::atomic<std::uint32_t> step;
  std::atomic<std::uint32_t> sleepers;
};

/// Messages that a manager took out of a stream: those with the numbers `begin` .. `end_number` - 1.
struct DrainRecord {
  std::atomic<std::uint64_t> begin;       // kUndecided: the consumer, or the manager, will say
  std::atomic<std::uint64_t> end;         // the position behind them
  std::atomic<std::uint64_t> end_number;  // ... and the number of the message there
  std::atomic<std::uint64_t> bytes;       // their payload, once it is known
  std::atomic<std::uint64_t> before;      // messages of all earlier records
  std::atomic<std::uint64_t> bytes_before;
};
inline constexpr std::uint64_t kUndecided = ~std::uint64_t{0};
/// So that the 16 bits of a number in a word tell whether a slot's count has passed a record.
inline constexpr std::uint64_t kMostDrained = 1U << 15;

/// Of a stream. A new record is filled before `current` names it.
struct Drain {
  alignas(64) std::atomic<std::uint64_t> gate;  // the manager's turn; while it is not 0 nothing new is put
  std::atomic<std::uint64_t> turns;
  std::atomic<std::uint64_t> current;
  DrainRecord record[2];
};

/// The mutable words that are not an end's own; at kSharedAt in the file.
struct Shared {
  Event data;                                    // consumers sleep here
  Event space;                                   // producers sleep here
  alignas(64) std::atomic<std::uint32_t> epoch;  // stepped whenever a slot's state changes
  std::atomic<std::uint32_t> broken;             // somebody found an impossible value
  Drain drain;
};
inline constexpr std::uint64_t kSharedAt = 1024;

/// How long sampled messages took from their commitment to their release, on a logarithmic scale (latency.h).
/// Statistics only: nothing is decided by them.
inline constexpr std::uint32_t kLatencyBuckets = 304;
struct Latencies {
  std::atomic<std::uint32_t> samples;  // roughly the buckets' sum
  std::atomic<std::uint32_t> buckets[kLatencyBuckets];
};
inline constexpr std::uint64_t kLatenciesAt = 2048;

/// One end. Producers' slots come first, then consumers'.
struct Slot {
  alignas(64) std::atomic<std::uint32_t> state;
  std::atomic<std::uint32_t> supervised;  // 1: peers do not infer this end's death
  std::atomic<std::uint32_t> fences;      // 1: its process cannot fence its peers; they do it themselves
  std::atomic<std::uint32_t> settled;     // claims: 1 when what a closed end had under way is dealt with
  // Producer, stream and claims: the message whose way is being timed, and when it was committed.
  std::atomic<std::uint64_t> sample;  // its number + 1; 0: none
  std::atomic<std::int64_t> sample_at;
  alignas(64) std::atomic<std::uint64_t> position;  // stream: bytes written or released
  std::atomic<std::uint64_t> count;                 // messages committed or released
  std::atomic<std::uint64_t> bytes;                 // cells: their payload; stream: see kStreamOverhead
  std::atomic<std::uint64_t> dropped;               // producer: never entered
  std::atomic<std::uint64_t> refused;               // producer: failed because full
  std::atomic<std::uint64_t> asleep;                // 1 while it sleeps in the kernel (for statistics)
  std::atomic<std::uint64_t>
      progress;  // stream, producer: how far the growing message is written; consumer: how far it has taken;
                 // claims: the place about to be published or given back, and `count` then
};
static_assert(sizeof(Slot) == 128);

/// In a stream a slot's `bytes` is what of `position` is neither payload nor this for each message of
/// `count`: padding, and the words of fragments. So a message whose size is a multiple of 8 need not touch
/// it.
inline constexpr std::uint64_t kStreamOverhead = 8;

// ---- stream: one producer, one consumer; a ring of words and payloads ----
// word: bits 0..31 size + 1, 32..47 low bits of the message's number, 48.. flags; 0: nothing here yet.
inline constexpr std::uint64_t kWordMore = std::uint64_t{1}
                                           << 48;  // another fragment of this message follows
inline constexpr std::uint64_t kWordFirst = std::uint64_t{1}
                                            << 49;  // the payload begins with the total size (u64)
inline constexpr std::uint64_t kWordNext = std::uint64_t{1} << 50;   // not the first fragment
inline constexpr std::uint64_t kWordAbort = std::uint64_t{1} << 51;  // the fragments before are void
inline constexpr std::uint64_t kWordGrowing = std::uint64_t{1}
                                              << 52;  // the payload is still being written, up to `progress`
inline constexpr std::uint64_t kWordSampled = std::uint64_t{1} << 53;  // its producer's slot says since when
inline constexpr std::uint64_t kWordDrained = std::uint64_t{1} << 54;  // a drain's record tells whose it is
inline constexpr std::uint64_t kWordKnown =
    kWordMore | kWordFirst | kWordNext | kWordAbort | kWordGrowing | kWordSampled;

// ---- claims: several ends, no lock; a ring of places, each claimed by a compare and swap of its own word
// ---- word: bits 0..35 where the bytes of this message end (in units of 8 since the creation), 36..48 the
// slot of the end that changed it last, 49..51 PlaceState, 52..63 how often the ring went round before it.
enum PlaceState : std::uint32_t {
  kPlaceFree = 0,     // nobody has claimed it in this round
  kPlaceWriting = 1,  // a producer's
  kPlaceReady = 2,    // a message
  kPlaceHeld = 3,     // a consumer's
  kPlaceAgain = 4,    // a message whose consumer died
  kPlaceDrained = 5,  // a manager's, who takes it away
};

struct Place {
  std::atomic<std::uint64_t> word;
  std::atomic<std::uint64_t> meta;  // bits 0..31 size, 32..60 its room in units of 8, 61 a key comes first,
                                    // 62 its producer's slot says since when it is there
};

/// Hints, and a counter: whatever they say, the places decide.
struct ClaimTable {
  alignas(64) std::atomic<std::uint64_t> tail;  // the places before it have been claimed
  alignas(64) std::atomic<std::uint64_t> head;  // the places before it have left, but for those given back
  alignas(64) std::atomic<std::uint64_t> redelivered;
  std::atomic<std::uint64_t> drained;       // messages that managers took away
  std::atomic<std::uint64_t> drain_intent;  // the place about to be given back, and `drained` then
  std::atomic<std::uint32_t> draining;      // 1: places may be a manager's
};

// ---- cells: any number of ends; every message has a descriptor, all under one lock ----
enum CellState : std::uint32_t { kFree = 0, kReserved = 1, kReady = 2, kTaken = 3 };
inline constexpr std::uint32_t kCellRedelivered = 1;
inline constexpr std::uint32_t kCellSampled = 2;  // then bits 12.. are the nanoseconds of its millisecond
inline constexpr unsigned kCellFractionAt = 12;

struct Cell {
  alignas(64) std::atomic<std::uint32_t> state;
  std::atomic<std::uint32_t> owner;  // slot index over both sides, while reserved or taken
  std::atomic<std::uint64_t> offset;
  std::atomic<std::uint64_t> size;
  std::atomic<std::uint64_t> number;  // order of commitment
  std::atomic<std::uint64_t> key;
  std::atomic<std::uint32_t> priority;
  std::atomic<std::uint32_t> flags;
  std::atomic<std::uint32_t> next;   // in its level's list, or the free list
  std::atomic<std::uint32_t> below;  // neighbours in order of address
  std::atomic<std::uint32_t> above;
  std::atomic<std::uint32_t> born_ms;  // when it became ready, low bits of the monotonic clock
};
static_assert(sizeof(Cell) == 64);

struct Level {
  std::atomic<std::uint32_t> head;
  std::atomic<std::uint32_t> tail;
};

/// Everything but `lock` follows from the cells, and is rebuilt from them when a holder of the lock died.
struct CellTable {
  alignas(64) std::atomic<std::uint32_t> lock;  // 0 free; else holder's slot index + 1, kLockWanted
  alignas(64) std::atomic<std::uint32_t> ready;
  std::atomic<std::uint32_t> reserved;
  std::atomic<std::uint32_t> taken;
  std::atomic<std::uint32_t> free_head;
  std::atomic<std::uint32_t> lowest;    // the cell with the lowest address
  std::atomic<std::uint32_t> rover;     // where the next hole is looked for
  std::atomic<std::uint32_t> released;  // stepped whenever room appears
  std::atomic<std::uint64_t> used;      // payload bytes
  std::atomic<std::uint64_t> next_number;
  std::atomic<std::uint64_t> dropped_oldest;
  std::atomic<std::uint64_t> dequeued;
  std::atomic<std::uint64_t> redelivered;
  std::atomic<std::uint64_t> bytes_enqueued;
  std::atomic<std::uint64_t> expired;
  std::atomic<std::uint64_t> drained;      // messages that managers took away
  std::atomic<std::uint64_t> drain_count;  // ... and how many when the next one is freed,
  std::atomic<std::uint32_t> drain_cell;   // which stands here, plus 1; 0: none
  alignas(64) std::atomic<std::uint64_t> level_bits[kLevels / 64];
  Level level[kLevels];
};
inline constexpr std::uint32_t kLockWanted = 0x8000'0000U;
inline constexpr std::uint32_t kNone = 0xffff'ffffU;
inline constexpr std::uint64_t kCellAlign = 64;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(sizeof(Header) <= kSharedAt && kSharedAt + sizeof(Shared) <= kLatenciesAt &&
              kLatenciesAt + sizeof(Latencies) <= 4096);

}  // namespace mvm::ring
