#pragma once
// The frames members exchange, as values. Everything decoded here comes from outside: counts, sizes and
// enumerations are checked before anything is kept, and libraft never sees bytes that were not.
// docs/formats/replica.md specifies them.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mvm/base/result.h"
#include "roster.h"

namespace mvm::replica::wire {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kHeader = 5;  ///< length of what follows (4 bytes), kind (1 byte)
inline constexpr std::size_t kMaxAddress = 255;
inline constexpr std::size_t kMaxGroup = 128;
inline constexpr std::size_t kMaxRoster = 1024;
inline constexpr std::size_t kMaxDecisions = 16;
inline constexpr std::size_t kMaxServers = 1024;
inline constexpr std::size_t kMaxEntries = 65536;  ///< in one Append
inline constexpr std::size_t kAppendBytes =
    1 << 20;  ///< a sender cuts an Append that would be longer, between entries
inline constexpr std::size_t kMaxMessage = 512;  ///< text of an answer that is an error

/// A recovery from a lost majority: `members` go on as a new epoch, from the log of `decider`.
struct Decision {
  std::uint64_t epoch = 0;
  std::uint64_t attempt = 0;  ///< random; tells two decisions of the same epoch apart
  std::uint64_t decider = 0;
  std::vector<std::uint64_t> members;  ///< rising
  bool operator==(const Decision&) const = default;
};

/// What a member says of itself and knows of others, sent whenever it changes, after it is on disk.
struct State {
  std::uint64_t id = 0;
  std::uint64_t life = 0;
  std::uint64_t group_id = 0;  ///< made by bootstrap; 0: in no group yet
  std::uint64_t promised = 0;  ///< attempt that this member has stopped for; 0: none
  bool active = false;
  std::vector<RosterEntry> roster;
  std::vector<Decision> decisions;  ///< rising by epoch; the last one is the epoch this member is in
};

struct Hello {
  std::uint32_t version = kVersion;
  std::string group;
  std::uint64_t wanted = 0;  ///< whom the caller believes to reach; 0: whoever answers
  State state;
};

enum class Verdict : std::uint8_t { kWelcome = 0, kOtherGroup = 1, kDead = 2, kFull = 3, kOtherMember = 4 };
struct Welcome {
  Verdict verdict = Verdict::kWelcome;
  std::uint64_t id = 0;
};

enum class EntryType : std::uint8_t { kCommand = 1, kBarrier = 2, kChange = 3 };
struct Entry {
  std::uint64_t term = 0;
  EntryType type = EntryType::kCommand;
  std::string_view bytes;  ///< into the decoded frame
};
struct Append {
  std::uint64_t term = 0;
  std::uint64_t previous_index = 0;
  std::uint64_t previous_term = 0;
  std::uint64_t commit = 0;
  std::vector<Entry> entries;
};
struct AppendResult {
  std::uint64_t term = 0;
  std::uint64_t rejected = 0;
  std::uint64_t last_index = 0;
};
struct Vote {
  std::uint64_t term = 0;
  std::uint64_t candidate = 0;
  std::uint64_t last_index = 0;
  std::uint64_t last_term = 0;
  bool disrupt = false;
  bool pre = false;
};
struct VoteResult {
  std::uint64_t term = 0;
  bool granted = false;
  std::uint8_t pre = 0;  ///< libraft's raft_tribool
};
struct Server {
  std::uint64_t id = 0;
  std::uint8_t role = 0;  ///< libraft's: 0 stand-by, 1 voter, 2 spare
};
struct Snapshot {
  std::uint64_t term = 0;
  std::uint64_t last_index = 0;
  std::uint64_t last_term = 0;
  std::uint64_t servers_index = 0;
  std::vector<Server> servers;
  std::string_view bytes;  ///< into the decoded frame
};
struct TimeoutNow {
  std::uint64_t term = 0;
  std::uint64_t last_index = 0;
  std::uint64_t last_term = 0;
};

/// A command for the leader to order; an empty one that `reads` asks for a barrier.
struct Propose {
  std::uint64_t request = 0;
  bool reads = false;
  std::string_view bytes;
};
struct Answer {
  std::uint64_t request = 0;
  std::uint8_t code = 0;  ///< 0: done; else 1 + ErrorCode
  std::uint64_t index = 0;
  std::string_view bytes;  ///< the result, or the error's text
};

/// Recovery: stop for this attempt at an epoch; I have stopped, my log ends so; go on as before.
struct Freeze {
  std::uint64_t epoch = 0;
  std::uint64_t attempt = 0;
  std::vector<std::uint64_t> members;
};
struct Promise {
  std::uint64_t attempt = 0;
  std::uint64_t last_term = 0;
  std::uint64_t last_index = 0;
};
struct Thaw {
  std::uint64_t attempt = 0;
};

/// Nothing to say; so that silence means something.
struct Ping {
  std::uint64_t promised = 0;  ///< as State::promised
  bool lost = false;           ///< by its configuration a majority of the voters is dead
};

using Message = std::variant<Hello, Welcome, State, Append, AppendResult, Vote, VoteResult, Snapshot,
                             TimeoutNow, Propose, Answer, Freeze, Promise, Thaw, Ping>;

struct Bounds {
  std::size_t command = std::size_t{1} << 20;
  std::size_t result = std::size_t{1} << 20;
  std::size_t snapshot = std::size_t{64} << 20;
};

/// A whole frame, header included.
[[nodiscard]] std::string encode(const Message& message);

/// How many bytes the body of a frame of this kind may have; 0 for a kind that does not exist.
[[nodiscard]] std::size_t most_bytes(std::uint8_t kind, const Bounds& bounds);

/// A frame's body. Views of the message point into `body`.
[[nodiscard]] Result<Message> decode(std::uint8_t kind, std::string_view body, const Bounds& bounds);

/// The kind and the length of a frame's body from its first kHeader bytes; kCorrupt where no such frame may
/// exist.
struct Header {
  std::uint8_t kind = 0;
  std::size_t length = 0;
};
[[nodiscard]] Result<Header> decode_header(std::string_view bytes, const Bounds& bounds);

/// A configuration as libraft writes it into its log.
[[nodiscard]] bool valid_change(std::string_view bytes);
[[nodiscard]] Result<std::vector<Server>> decode_change(std::string_view bytes);

/// What a member keeps beside libraft's files: file `group` of its folder.
struct Ledger {
  std::string group;
  std::uint64_t id = 0;
  std::uint64_t life = 0;
  std::uint64_t group_id = 0;
  std::uint64_t promised = 0;
  bool discard = false;  ///< its log belongs to an epoch that went on without it, and is to be set aside
  std::vector<RosterEntry> roster;
  std::vector<Decision> decisions;
};
[[nodiscard]] std::string encode(const Ledger& ledger);
[[nodiscard]] Result<Ledger> decode_ledger(std::string_view bytes);

}  // namespace mvm::replica::wire
