#pragma once
// The expanded topology: every process, every queue, numbered. Compact and immutable.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::topologies {

using ProcessId = std::uint32_t;  ///< 0 .. process_count()-1, roles in file order, indices within a role
using LinkId = std::uint32_t;     ///< 0 .. link_count()-1, in file order
using Slot = std::uint32_t;       ///< number of a port, or of one element of a port array, within its process

inline constexpr LinkId kNoLink = 0xffffffffU;

enum class Direction : std::uint8_t { kIn, kOut };
enum class QueueType : std::uint8_t { kFifo, kPriority, kLatest };
enum class WhenFull : std::uint8_t { kBlock, kDropOldest, kDropNewest, kFail };
enum class Deliver : std::uint8_t { kOneOf, kEveryOne, kByKey };

/// The words of the files: "in"; "fifo"; "drop-oldest"; "one-of".
[[nodiscard]] std::string_view to_string(Direction value);
[[nodiscard]] std::string_view to_string(QueueType value);
[[nodiscard]] std::string_view to_string(WhenFull value);
[[nodiscard]] std::string_view to_string(Deliver value);

/// What a link's queue holds and does when full.
struct QueueSpec {
  QueueType type = QueueType::kFifo;
  std::uint32_t capacity = 256;     ///< messages, at least 1
  std::uint64_t bytes = 1U << 20U;  ///< bytes of messages together, at least 64
  WhenFull when_full = WhenFull::kBlock;
  std::optional<std::int64_t> timeout_ms;  ///< longest wait of kBlock; none: for ever
  std::optional<std::int64_t> ttl_ms;      ///< messages older than this are dropped; none: kept
  bool operator==(const QueueSpec&) const = default;
};

/// What all links of one `<link>` or `<pattern>` have in common.
struct LinkSpec {
  QueueSpec queue;
  Deliver deliver = Deliver::kOneOf;
  std::vector<std::string> codecs;  ///< applied in this order by the producer's side
  std::string transport;            ///< forced transport; empty: picked by where the ends are
  bool operator==(const LinkSpec&) const = default;
};

/// A named end of a role's processes; a port array has several slots.
struct Port {
  std::string name;
  Direction direction = Direction::kIn;
  bool array = false;       ///< declared with a count
  std::uint32_t count = 1;  ///< slots; 0 is possible for an array
  Slot first_slot = 0;      ///< its slots are first_slot .. first_slot+count-1
  bool operator==(const Port&) const = default;
};

/// A kind of process.
struct Role {
  std::string name;
  std::uint32_t count = 0;      ///< processes
  ProcessId first_process = 0;  ///< its processes are first_process .. first_process+count-1
  std::vector<Port> ports;
  std::uint32_t slot_count = 0;  ///< slots of each of its processes
  [[nodiscard]] const Port* find_port(std::string_view name) const;
  bool operator==(const Role&) const = default;
};

/// Where a link meets a process.
struct End {
  ProcessId process = 0;
  Slot slot = 0;
  bool operator==(const End&) const = default;
};

/// One queue and what it joins. The spans live as long as the graph. An open port's queue has ends on one
/// side only: clients outside the lab are the other.
struct Link {
  LinkId id = kNoLink;
  std::span<const End> producers;
  std::span<const End> consumers;
  const LinkSpec* spec = nullptr;
  [[nodiscard]] bool open() const { return producers.empty() != consumers.empty(); }
};

/// The graph. Made by expand(); copying copies everything. All calls are const and thread-safe.
/// Where a call takes an id, the id is in range.
class Graph {
 public:
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<Role>& roles() const { return roles_; }
  [[nodiscard]] std::uint32_t process_count() const { return process_count_; }
  [[nodiscard]] std::uint32_t link_count() const { return static_cast<std::uint32_t>(links_.size()); }
  [[nodiscard]] bool empty() const { return process_count_ == 0; }

  // ---- processes
  /// Number of the role a process belongs to, for roles().
  [[nodiscard]] std::uint32_t role_of(ProcessId process) const;
  /// Its index within its role.
  [[nodiscard]] std::uint32_t index_of(ProcessId process) const;
  /// "cell[3]"; always with the index, as logs and commands write it.
  [[nodiscard]] std::string process_name(ProcessId process) const;
  /// The process of "cell[3]", or of "source" where that role has one process only.
  [[nodiscard]] std::optional<ProcessId> find_process(std::string_view name) const;
  [[nodiscard]] const Role* find_role(std::string_view name) const;

  // ---- ports
  /// The ports of a process are those of its role.
  [[nodiscard]] const std::vector<Port>& ports_of(ProcessId process) const;
  /// The port that a slot belongs to.
  [[nodiscard]] const Port& port_at(End end) const;
  /// "cell[3].to-right" or "cell[3].peer-out[1]".
  [[nodiscard]] std::string end_name(End end) const;
  /// The slot of element `index` of a port; none where the process has no such port or element.
  [[nodiscard]] std::optional<Slot> find_slot(ProcessId process, std::string_view port,
                                              std::uint32_t index = 0) const;

  // ---- links
  [[nodiscard]] Link link(LinkId id) const;
  /// "ring[3]", or "source.out->cell[*].in" where a `<link>` makes one queue only. Unique and stable.
  [[nodiscard]] std::string link_name(LinkId id) const;
  [[nodiscard]] std::optional<LinkId> find_link(std::string_view name) const;
  /// The link of an open port: by its end ("cell[1].work", "cell[0].peer[2]"; without brackets where there is
  /// one process, or one element), by the end of a port that processes share ("cell.work"), or by the port's
  /// name alone where no other role has an open port of it. kNotFound and kInvalid say what there is.
  [[nodiscard]] Result<LinkId> find_open(std::string_view name) const;
  /// All links of open ports.
  [[nodiscard]] std::vector<LinkId> open_links() const;
  /// The links that meet a process at this slot: none or one at an out port, any number at an in port.
  [[nodiscard]] std::span<const LinkId> links_at(End end) const;
  /// The links of a process, slot by slot. A link that meets it at two slots is there twice.
  [[nodiscard]] std::span<const LinkId> links_of(ProcessId process) const;

  /// Bytes of memory held, for measurements.
  [[nodiscard]] std::size_t memory_bytes() const;

 private:
  friend class GraphBuilder;
  /// Ends of a link: ends_[first_end .. +producers) produce, the rest, up to the next link's, consume.
  struct Record {
    std::uint32_t first_end = 0;
    std::uint32_t producers = 0;
  };
  /// The links that one `<link>` or `<pattern>` made, in a row.
  struct Group {
    std::string name;
    LinkId first_link = 0;
    bool indexed = true;  ///< names end in [k]
    std::uint32_t spec = 0;
  };
  [[nodiscard]] const Group& group_of(LinkId id) const;
  [[nodiscard]] std::uint64_t slot_base(ProcessId process) const;

  std::string name_;
  std::vector<Role> roles_;
  std::map<std::string, std::uint32_t, std::less<>> role_numbers_;
  std::vector<std::uint64_t> role_first_slot_;  ///< number of each role's first slot among all slots
  std::uint32_t process_count_ = 0;
  std::vector<LinkSpec> specs_;
  std::vector<Group> groups_;
  std::vector<Record> links_;
  std::vector<End> ends_;
  std::vector<std::uint32_t> slot_links_first_;  ///< one more than slots
  std::vector<LinkId> slot_links_;
};

}  // namespace mvm::topologies
