#pragma once
// The registry of a virtual machine: names that hold typed items, shared by its kernels, plug-ins and
// programs [Harness 001, §4], after the message mailboxes of PVM 3.4. docs/formats/registry.md.
//
//   mvm::registry::Session me(registry, "kernel-7", lease);
//   auto index = me.putinfo("dvm/hosts", item, mvm::registry::kMultiple | mvm::registry::kAnyone);
//   auto found = me.recvinfo("dvm/hosts", 0, mvm::registry::kFirstAvailable);
//
// What an update does is a pure function (mvm/registry/table.h); providers differ in order and durability
// only.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::registry {

inline constexpr std::size_t kMaxName = 255;          ///< bytes of a name
inline constexpr std::size_t kMaxOwner = 255;         ///< bytes of an owner's name
inline constexpr std::size_t kMaxItem = 1U << 20U;    ///< bytes of one item, and of all items of one update
inline constexpr std::size_t kMaxOperations = 32;     ///< of one update
inline constexpr std::size_t kMaxInstances = 1024;    ///< of one name
inline constexpr std::size_t kMaxItems = 1U << 18U;   ///< of the registry
inline constexpr std::size_t kMaxBytes = 64U << 20U;  ///< of the registry: names, owners and items together
inline constexpr std::size_t kMaxLeases = 1U << 16U;
inline constexpr std::size_t kMaxPattern = 255;
inline constexpr std::size_t kMaxRequest = 64;   ///< bytes of a request's id
inline constexpr std::size_t kMaxEvents = 4096;  ///< of one answer, but a revision is never cut
inline constexpr std::chrono::milliseconds kMinTtl{100};
inline constexpr std::chrono::milliseconds kMaxTtl{24 * 3600 * 1000};
inline constexpr std::chrono::milliseconds kMaxPoll{25'000};

/// Flags of putinfo; they stay with the item.
enum PutFlag : std::uint32_t {
  kAnyone = 1U << 0U,      ///< others than the owner may overwrite and delete it, too
  kMultiple = 1U << 1U,    ///< one of several instances of the name; a name's instances all have it, or none
  kPersistent = 1U << 2U,  ///< stays when its owner's lease ends; put without lease. All others need a lease
  kOverwrite = 1U << 3U,   ///< of the call: replaces the instance `index`; its owner, flags and lease become
                           ///< those of the call. A name that holds nothing takes it as index 0
};

/// Flags of recvinfo and delinfo.
enum RecvFlag : std::uint32_t {
  kFirstAvailable = 1U << 8U,  ///< the first instance whose index is at least the one asked for
  kReadAndDelete = 1U << 9U,   ///< deletes what it answers, as one update; needs the right to delete
  kWait = 1U << 10U,           ///< recvinfo: waits until there is one
};

/// The bytes of an item: a sequence of libmvm's packed values (docs/formats/packing.md). Shared, never
/// changed.
using Item = std::shared_ptr<const std::string>;

[[nodiscard]] inline Item make_item(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

/// What is known about an instance, without its item.
struct Info {
  std::string name;
  std::uint64_t index = 0;  ///< a new instance gets one more than the highest of its name, or 0
  std::string owner;
  std::uint32_t flags = 0;     ///< kAnyone, kMultiple, kPersistent
  std::uint64_t lease = 0;     ///< it goes when this ends; 0: it stays
  std::uint64_t revision = 0;  ///< of the update that put it
  std::uint64_t size = 0;      ///< bytes of the item
  bool operator==(const Info&) const = default;
};

struct Instance {
  Info info;
  Item item;
};

/// One step of an update.
struct Operation {
  enum class Kind : std::uint8_t {
    kPut = 1,  ///< name, item, flags, owner, lease; index with kOverwrite
    kDelete,   ///< name, index, flags, owner
    kTake,     ///< as kDelete, and answers the instance
    kCheck,    ///< name, index, expect: changes nothing
    kGrant,    ///< owner, ttl: makes a lease. The only operation of its update
    kRevoke,   ///< lease, owner: ends it, and with it its items. No error where there is none. The only
               ///< operation of its update, unless `owner` is empty: by the provider, as its time has passed
  };
  Kind kind = Kind::kPut;
  std::string name;
  std::uint64_t index = 0;
  std::uint32_t flags = 0;
  std::string owner;  ///< who asks; whoever offers the registry to others has made sure of it
  std::uint64_t lease = 0;
  Item item;
  std::chrono::milliseconds ttl{0};
  /// The instance (name, index) must have this revision; 0: it must not be there.
  std::optional<std::uint64_t> expect;
};

/// Operations that happen all, in this order, or not at all. An instance is changed by one of them at most.
struct Update {
  /// Drawn by who sends it, to send it again after an error that leaves open whether it happened
  /// (kTimeout, kUnavailable): it happens once, and the answer is the first one's. The last 1,024 updates
  /// that have one are remembered, as far as their answers fit in 4 MiB. Empty: it is not.
  std::string request;
  std::vector<Operation> operations;
};

/// What one operation answers.
struct Outcome {
  std::uint64_t index = 0;  ///< kPut, kDelete, kTake: of the instance
  std::uint64_t lease = 0;  ///< kGrant
  std::optional<Instance> taken;
};

struct Applied {
  std::uint64_t revision = 0;  ///< of the registry after it; rises with every update that changes something
  std::vector<Outcome> outcomes;  ///< one for each operation
};

/// One change, as watchers see it.
struct Event {
  std::uint64_t revision = 0;
  bool deleted = false;
  Info info;  ///< deleted: as it was, but for what a provider no longer knows (only name and index are sure)
  Item item;  ///< null where it was deleted
};

struct Events {
  std::vector<Event> events;  ///< in order; a revision is there whole or not at all
  std::uint64_t cursor = 0;   ///< where to go on: the next call's `after`
};

struct Listing {
  std::vector<Info> infos;     ///< in the order of (name, index)
  std::uint64_t revision = 0;  ///< all of it as of this revision: watch(revision) tells what follows
  bool more = false;           ///< `limit` cut it; go on after the last one
};

/// Where the next listing goes on.
struct Position {
  std::string name;
  std::uint64_t index = 0;
};

/// The service. Every call may be made from any thread and blocks until done. Whatever was answered with
/// success is durable, and was seen by everybody in the same order. All: kUnavailable where the provider has
/// no majority or cannot be reached, kTimeout where an answer did not come: an update may have happened then.
class Registry {
 public:
  virtual ~Registry() = default;

  /// kInvalid: a limit or a rule is broken; kExists: the name is taken; kNotFound: no such instance, or
  /// lease; kRefused: another owner's; kConflict: not the revision expected; kExhausted: the registry is
  /// full.
  [[nodiscard]] virtual Result<Applied> update(const Update& update) = 0;

  /// An instance as of now: no update that was acknowledged before the call is missing. flags:
  /// kFirstAvailable.
  [[nodiscard]] virtual Result<Instance> read(std::string_view name, std::uint64_t index,
                                              std::uint32_t flags) = 0;

  /// The instances whose names match `pattern` (match() below), as of now; at most `limit`.
  [[nodiscard]] virtual Result<Listing> list(std::string_view pattern,
                                             const std::optional<Position>& after = {},
                                             std::size_t limit = 1000) = 0;

  /// The changes after revision `after` of names that match; waits for the first of them until `wait` has
  /// passed (at most kMaxPoll), and answers none then. kNotFound where so old ones are no longer kept, or
  /// `after` is of another registry: list again. [long poll]
  [[nodiscard]] virtual Result<Events> watch(std::uint64_t after, std::string_view pattern,
                                             std::chrono::milliseconds wait,
                                             std::size_t limit = kMaxEvents) = 0;

  /// Gives a lease its whole term again. kNotFound where it has ended.
  [[nodiscard]] virtual Status keep_alive(std::uint64_t lease) = 0;

  /// Ends every watch that waits, now and later, with kCancelled: before the registry is taken down.
  virtual void stop() = 0;
};

/// Whether a name matches: `*` any number of bytes, `?` one, `[a-z]` and `[^a-z]` one of a set, `\` takes the
/// next byte literally. Takes at most the product of the two lengths.
[[nodiscard]] bool match(std::string_view pattern, std::string_view name);

/// What every name that matches begins with: the pattern up to its first `*`, `?` or `[`.
[[nodiscard]] std::string literal_prefix(std::string_view pattern);

/// kInvalid where it breaks the rules. A name: 1 to 255 bytes of UTF-8 without control characters.
[[nodiscard]] Status check_name(std::string_view name);
/// A pattern: 1 to 255 bytes.
[[nodiscard]] Status check_pattern(std::string_view pattern);

/// The pattern that only this name matches.
[[nodiscard]] std::string pattern_of(std::string_view name);

/// kInvalid where the bytes are no sequence of packed values.
[[nodiscard]] Status check_item(std::string_view bytes);

/// A new lease of `owner`, which ends unless it is kept alive within `ttl`.
[[nodiscard]] Result<std::uint64_t> grant(Registry& registry, std::string owner,
                                          std::chrono::milliseconds ttl);
/// Ends it now, and deletes its items. No error where it has ended; kRefused where it is another owner's.
[[nodiscard]] Status revoke(Registry& registry, std::string owner, std::uint64_t lease);

/// The four calls of the paper for one owner. Thread-safe where the registry is.
class Session {
 public:
  /// `lease`: of the owner, for items that are not persistent; 0: only persistent ones can be put.
  Session(Registry& registry, std::string owner, std::uint64_t lease = 0)
      : registry_(registry), owner_(std::move(owner)), lease_(lease) {}

  /// Its index. `index` counts with kOverwrite.
  [[nodiscard]] Result<std::uint64_t> putinfo(std::string name, Item item, std::uint32_t flags,
                                              std::uint64_t index = 0);
  /// kWait: for at most `wait`, then kTimeout.
  [[nodiscard]] Result<Instance> recvinfo(std::string_view name, std::uint64_t index, std::uint32_t flags,
                                          std::chrono::milliseconds wait = kMaxPoll);
  [[nodiscard]] Status delinfo(std::string name, std::uint64_t index, std::uint32_t flags = 0);
  /// All that match, however many.
  [[nodiscard]] Result<Listing> getreginfo(std::string_view pattern);

  [[nodiscard]] const std::string& owner() const { return owner_; }
  [[nodiscard]] std::uint64_t lease() const { return lease_; }

 private:
  Registry& registry_;
  std::string owner_;
  std::uint64_t lease_;
};

}  // namespace mvm::registry
