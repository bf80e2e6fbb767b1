#pragma once
// A state machine replicated among the members of a group: Debian's libraft orders and stores its commands;
// this layer gives it authenticated links, a roster of lives, and the recovery that confirmed deaths allow,
// down to the last member. [Migliardi 1999, 001 §4; Kurzyniec 2001, 002 §2] docs/formats/replica.md

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::replica {

/// A copy of the state: its number, never 0 and never given to another copy, and where it listens,
/// "HOST:PORT".
struct Member {
  std::uint64_t id = 0;
  std::string address;
};

/// One life of a member: from opening its folder to the end of the process that did. Each opening counts one
/// up.
struct Life {
  std::uint64_t id = 0;
  std::uint64_t life = 0;
};

enum class Role { kVoter, kStandBy, kOutside };  ///< stand-by: holds a copy, has no vote

struct MemberState {
  Member member;
  std::uint64_t life = 0;
  Role role = Role::kOutside;
  bool dead = false;       ///< this life is confirmed dead, or the member has left
  bool connected = false;  ///< a link to it is up now (true for oneself)
  bool displaced = false;  ///< somebody else answers where it listened: this life is over
};

/// What is replicated. All calls come from the replica's own thread; apply and restore must do the same on
/// every member, so nothing but the bytes given, never a clock or a random number, may decide. The result
/// goes to whoever proposed.
class StateMachine {
 public:
  virtual ~StateMachine() = default;
  /// `index` rises with every call, with gaps; a command that makes no sense is answered in the result, never
  /// refused.
  virtual std::string apply(std::uint64_t index, std::string_view command) = 0;
  [[nodiscard]] virtual std::string snapshot() = 0;
  /// Replaces the whole state. kCorrupt stops the replica.
  [[nodiscard]] virtual Status restore(std::string_view snapshot) = 0;
};

struct Limits {
  std::size_t command_bytes = std::size_t{1} << 20;    ///< the longest command
  std::size_t result_bytes = std::size_t{1} << 20;     ///< the longest answer that travels to another member
  std::size_t snapshot_bytes = std::size_t{64} << 20;  ///< the largest snapshot
  std::size_t pending_proposals = 4096;  ///< waiting here at once; more are refused with kExhausted
  std::size_t pending_bytes = std::size_t{32} << 20;  ///< of waiting proposals
  std::size_t voters = 7;                             ///< more members are stand-bys
  std::size_t members = 64;                           ///< known to the group, the dead not counted
  unsigned snapshot_every = 4096;                     ///< commands between snapshots
};

struct Options {
  std::string group;             ///< the group's name; links of other groups are refused
  Member self;                   ///< port 0: chosen by the kernel; see Replica::self()
  std::filesystem::path folder;  ///< this copy's own; made if absent; locked while open
  std::string secret;  ///< of the group, 16 bytes or more: key of all its links (TLS 1.3, pre-shared key)
  std::chrono::milliseconds beat{250};  ///< a silent leader is replaced after one to two beats
  /// An update is acknowledged when a majority holds it and so does every voter heard of within this time:
  /// whoever was in touch holds all that was acknowledged, so that the last of them can go on alone without a
  /// loss.
  std::chrono::milliseconds patience{500};
  Limits limits;
};

/// Called on the replica's own thread: return soon, block on nothing, call any method but stop() and the
/// destructor.
struct Callbacks {
  /// Who leads now (id 0: nobody known), in which term. Also called when this member becomes or ceases to be
  /// the leader; a new leader is told only when everything that was acknowledged before is applied here.
  std::function<void(const Member& leader, std::uint64_t term)> leader_changed;
  /// The members, their roles or their deaths have changed.
  std::function<void(const std::vector<MemberState>&)> members_changed;
  /// This life of this member is over: the others counted it dead, or its disk failed. Only stop() makes
  /// sense now.
  std::function<void(const Error& why)> ended;
};

/// A command's place and the state machine's answer.
struct Applied {
  std::uint64_t index = 0;
  std::string result;
};

/// kConflict, kExhausted, kInvalid: surely not done. kTimeout, kUnavailable, kCancelled: nobody knows whether
/// it is done.
using Done = std::function<void(Result<Applied>)>;
using DoneStatus = std::function<void(Status)>;

struct Info {
  Member leader;              ///< id 0: nobody known
  bool leads = false;         ///< this member is the leader
  bool active = false;        ///< this life has been noted by all the living and takes part
  std::uint64_t term = 0;     ///< rises with every leader; at most one leader per term
  std::uint64_t epoch = 0;    ///< rises with every recovery from a lost majority
  std::uint64_t applied = 0;  ///< index of the last command applied here
  std::uint64_t committed = 0;
  std::uint64_t life = 0;  ///< of this member
};

/// One member of the group. All methods may be called from any thread; they post to the replica's own.
class Replica {
 public:
  /// Opens or makes the copy in the folder and starts to listen. A new copy is in no group until bootstrap()
  /// or join(). A copy with a past takes part again once every living member has noted its new life.
  [[nodiscard]] static Result<std::unique_ptr<Replica>> open(Options options, StateMachine& machine,
                                                             Callbacks callbacks);

  virtual ~Replica() = default;

  /// The first members of a new group, this one among them, each with its final address: call it with the
  /// same list on all of them. On a copy with a past it does nothing.
  [[nodiscard]] virtual Status bootstrap(const std::vector<Member>& members) = 0;
  /// Asks the group through any of these members to be taken in: as a stand-by first, as a voter when it
  /// holds the log and there is room. Repeats until it is; ask info().active. On a copy with a past it only
  /// tells where the others may be.
  [[nodiscard]] virtual Status join(const std::vector<Member>& contacts) = 0;

  /// Has the leader, here or elsewhere, order and apply a command; `done` is called once, when it is
  /// acknowledged (see Options::patience). Commands proposed here are applied in the order proposed as long
  /// as the leader stays the same.
  virtual void propose(std::string command, Done done,
                       std::chrono::milliseconds limit = std::chrono::seconds(10)) = 0;
  /// `done` is called when everything acknowledged anywhere before this call is applied here: a read of the
  /// state machine after it is linearizable.
  virtual void barrier(DoneStatus done, std::chrono::milliseconds limit = std::chrono::seconds(10)) = 0;

  /// A fact from outside, true for ever: this life is over (its process ended, its VM is gone, its host's
  /// lease ran out, an operator's word). Silence is no such fact. A member that is opened again lives a new
  /// life, see MemberState::life.
  virtual void confirm_death(Life life) = 0;
  /// An operator's word on a copy that will never be opened again. Needed only where everybody has stopped
  /// and the others wait for a copy that may know more than they do; what only it knew is lost.
  virtual void confirm_lost(std::uint64_t id) = 0;
  /// Gives up this member's part in good order, after which its folder is of no use. `done`: the others know.
  virtual void leave(DoneStatus done) = 0;

  [[nodiscard]] virtual Member self() const = 0;  ///< with the port that was chosen
  [[nodiscard]] virtual Info info() const = 0;
  [[nodiscard]] virtual std::vector<MemberState> members() const = 0;

  /// Runs `call` on the replica's own thread, between two commands: a look at the state machine without a
  /// lock.
  virtual void post(std::function<void()> call) = 0;
  /// Stops taking part; waiting calls end with kCancelled. The destructor does it too. Not from a callback.
  virtual void stop() = 0;
};

}  // namespace mvm::replica
