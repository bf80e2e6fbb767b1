#pragma once
// What updates do to a registry: a pure state machine. The same updates in the same order make the same
// table, byte for byte, wherever they are applied: no clock, no random numbers, no order of hashing.
//
// A provider puts updates in order, makes them durable, and applies them; it ends leases itself, by an update
// with kRevoke when its clock (the embedded provider's, the leader's) says so.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/registry/registry.h"

namespace mvm::registry {

/// An update as bytes, for a log. Deterministic. Its limits hold when they are decoded: kCorrupt otherwise.
[[nodiscard]] std::string encode(const Update& update);
[[nodiscard]] Result<Update> decode_update(std::string_view bytes);

/// What an update answered, as bytes.
[[nodiscard]] std::string encode(const Applied& applied);
[[nodiscard]] Result<Applied> decode_applied(std::string_view bytes);

/// What applying an update gave.
struct Effect {
  Applied answer;
  std::vector<Event> events;           ///< what changed, in order; all have the answer's revision
  std::vector<std::uint64_t> granted;  ///< leases that are new: begin to count
  std::vector<std::uint64_t> ended;    ///< leases that are gone
  bool repeated = false;  ///< the request was applied before: nothing changed, `answer` is the first one's
};

struct LeaseInfo {
  std::string owner;
  std::chrono::milliseconds ttl{0};
  bool operator==(const LeaseInfo&) const = default;
};

/// What one operation on a name depends on: the same view for providers that keep their items elsewhere.
struct Box {
  std::uint64_t count = 0;    ///< instances of the name
  std::uint64_t highest = 0;  ///< index among them
  bool multiple = false;      ///< they have kMultiple
  /// The instance `index` of the operation, or with kFirstAvailable the first one that is not lower.
  std::optional<Info> target;
};

/// What an operation does to a box.
struct Step {
  std::uint64_t index = 0;  ///< of the instance it is about
  bool removes = false;
  std::optional<Info> puts;  ///< all but its revision
};

/// The rules for one operation on a name (kPut, kDelete, kTake, kCheck), without leases and the registry's
/// totals. kExists, kNotFound, kRefused, kConflict, kExhausted as Registry::update.
[[nodiscard]] Result<Step> step(const Box& box, const Operation& operation);

/// The limits of an update that need no table. kInvalid.
[[nodiscard]] Status check_update(const Update& update);

/// Not thread-safe. Copying shares the items.
class Table {
 public:
  /// An error changes nothing, and is the same everywhere, too.
  [[nodiscard]] Result<Effect> apply(const Update& update);

  /// A part of a registry that is kept elsewhere, to find out what an update does there: the infos of those
  /// names that it is about, all of them, without items, and the leases.
  [[nodiscard]] static Table part(std::uint64_t revision, std::vector<Info> infos,
                                  std::map<std::uint64_t, LeaseInfo> leases);

  [[nodiscard]] std::uint64_t revision() const { return revision_; }
  [[nodiscard]] const std::map<std::uint64_t, LeaseInfo>& leases() const { return leases_; }
  [[nodiscard]] std::size_t items() const { return items_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  [[nodiscard]] Result<Instance> read(std::string_view name, std::uint64_t index, std::uint32_t flags) const;
  [[nodiscard]] Result<Listing> list(std::string_view pattern, const std::optional<Position>& after,
                                     std::size_t limit) const;

  /// Everything: items, leases, revision, requests that are remembered. The events of the past are not in it.
  /// Deterministic.
  [[nodiscard]] std::string snapshot() const;
  /// kCorrupt.
  [[nodiscard]] static Result<Table> restore(std::string_view snapshot);

 private:
  struct Work;  // an update under way, with what undoes it
  struct Remembered {
    std::string request;
    std::string answer;  // encoded
  };
  using Instances = std::map<std::uint64_t, Instance>;

  [[nodiscard]] Result<Effect> answer_again(const Remembered& remembered) const;
  [[nodiscard]] Box look(const Operation& operation) const;
  [[nodiscard]] Status apply_one(Work& work, const Operation& operation);
  [[nodiscard]] Status put(Work& work, const Operation& operation, Info info, Outcome& outcome);
  [[nodiscard]] Status grant(Work& work, const Operation& operation, Outcome& outcome);
  [[nodiscard]] Status revoke(Work& work, const Operation& operation);
  void store(Instance instance);
  void remove(const std::string& name, std::uint64_t index);
  void remove(Work& work, const std::string& name, std::uint64_t index);
  void undo(Work& work);
  void remember(const std::string& request, std::string answer);

  std::uint64_t revision_ = 0;
  std::uint64_t next_lease_ = 1;
  std::map<std::string, Instances, std::less<>> names_;
  std::map<std::uint64_t, LeaseInfo> leases_;
  std::map<std::uint64_t, std::set<std::pair<std::string, std::uint64_t>>> of_lease_;
  std::deque<Remembered> remembered_;                           // the oldest first
  std::uint64_t forgotten_ = 0;                                 // how many came before them
  std::map<std::string, std::uint64_t, std::less<>> requests_;  // to its number among all
  std::size_t remembered_bytes_ = 0;
  std::size_t items_ = 0;
  std::size_t bytes_ = 0;
};

/// The latest events, for watches; as many as fit. Not thread-safe.
class History {
 public:
  /// `begin`: the revision that everything before is forgotten at.
  explicit History(std::uint64_t begin = 0, std::size_t max_events = 1U << 16U,
                   std::size_t max_bytes = 64U << 20U)
      : begin_(begin), last_(begin), max_events_(max_events), max_bytes_(max_bytes) {}
  /// The events of one revision, which is higher than all before.
  void add(std::uint64_t revision, const std::vector<Event>& events);
  /// As Registry::watch, without waiting.
  [[nodiscard]] Result<Events> after(std::uint64_t cursor, std::string_view pattern, std::size_t limit) const;
  [[nodiscard]] std::uint64_t last() const { return last_; }

 private:
  std::uint64_t begin_;
  std::uint64_t last_;
  std::size_t max_events_;
  std::size_t max_bytes_;
  std::size_t bytes_ = 0;
  std::deque<Event> events_;
};

}  // namespace mvm::registry
