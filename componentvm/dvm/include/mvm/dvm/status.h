#pragma once
// The status of a distributed virtual machine: membership, services, baseline [Harness 000, §2.2], the
// commands in flight and the states of plug-ins that are kept by all [lightweight kernel, §2].
//
// A replicated state machine: (VmStatus, Event) -> (VmStatus, Effects), without I/O, time or chance. The
// status server's log holds the events in their one order; each kernel follows those it chose.

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/dvm/commit_table.h"

namespace mvm::dvm {

/// Names of kernels that do not change; copies share them. A thousand kernels remember hundreds of commands
/// for a thousand kernels.
class Names {
 public:
  using Set = std::set<std::string>;
  Names() = default;
  Names(Set names)  // NOLINT(google-explicit-constructor): it is what a set is turned into
      : set_(names.empty() ? nullptr : std::make_shared<const Set>(std::move(names))) {}
  [[nodiscard]] const Set& set() const {
    static const Set none;
    return set_ ? *set_ : none;
  }
  [[nodiscard]] bool contains(const std::string& name) const { return set().contains(name); }
  [[nodiscard]] std::size_t size() const { return set().size(); }
  [[nodiscard]] Set::const_iterator begin() const { return set().begin(); }
  [[nodiscard]] Set::const_iterator end() const { return set().end(); }
  friend bool operator==(const Names& a, const Names& b) { return a.set_ == b.set_ || a.set() == b.set(); }

 private:
  std::shared_ptr<const Set> set_;
};

/// One plug-in at one kernel.
struct Service {
  std::string version;
  std::string locator;  ///< by which it was loaded; empty: by the kernel itself
  std::string owner;    ///< the user who had it loaded
  std::string sharing;  ///< "owners": that user and administrators; "everyone"
  friend bool operator==(const Service&, const Service&) = default;
};

/// A thread that runs a plug-in's code, named by the command that started it.
struct Thread {
  std::string plugin;
  std::string user;
  friend bool operator==(const Thread&, const Thread&) = default;
};

/// One kernel.
struct Member {
  std::string name;
  std::string address;                            ///< where it takes connections
  std::string incarnation;                        ///< drawn by each process of the kernel
  bool lost = false;                              ///< neither heard nor left; its status is kept
  std::uint64_t copy = 0;                         ///< its copy of the log; 0: it holds none
  std::uint64_t life = 0;                         ///< of that copy
  std::map<std::string, std::string> attributes;  ///< arch, and what its owner says
  std::map<std::string, std::string> core;        ///< core services and their versions
  std::map<std::string, Service> services;        ///< in a status: but for its late changes
  std::map<std::string, Thread> threads;
};

/// What new kernels must be able to deliver: services, and the least version of each.
using Baseline = std::map<std::string, std::string>;

/// The core services of this kernel. [000 §2.3]
[[nodiscard]] std::map<std::string, std::string> core_services();
/// Why a kernel does not meet a baseline, one sentence for each; empty where it does.
[[nodiscard]] std::vector<std::string> check_baseline(const Baseline& baseline, const Member& member);

/// Which kernels a command is for.
struct Targets {
  std::vector<std::string> names;                 ///< these; empty: all, or `count` of them
  std::uint64_t count = 0;                        ///< 0: all
  std::map<std::string, std::string> attributes;  ///< only kernels that have these

  /// Reads "all", "NAME,NAME,...", "N", and any of them followed by ":KEY=VALUE,..." ("4:arch=x86_64").
  [[nodiscard]] static Result<Targets> read(std::string_view text);
};

/// A command that is not local to one kernel. [000 §2.3]
struct Command {
  std::string id;    ///< KERNEL.INCARNATION.NUMBER, of the kernel that took it
  std::string verb;  ///< load, run, unload, stop
  std::string locator;
  std::vector<std::string> arguments;
  std::string sharing = "everyone";  ///< load: the plug-in's permission attribute
  Targets targets;
  Qos qos = Qos::kAllOrNone;
  std::string user;
  bool administrator = false;
  std::uint64_t deadline_ms = 30'000;  ///< for the kernels' answers

  Phase phase = Phase::kNew;
  bool committed = false;                     ///< once decided: which way
  std::uint64_t number = 0;                   ///< of its beginning
  std::uint64_t decided = 0;                  ///< number of its decision; 0 before
  Names participants;                         ///< drawn when it began
  std::map<std::string, std::string> unable;  ///< and why; after the decision
  std::map<std::string, std::string> failed;  ///< able and decided, and yet it went wrong there
  std::set<std::string> owing;                ///< finished, but these were away: they owe it
  [[nodiscard]] bool concerns(const std::string& kernel) const { return participants.contains(kernel); }
  /// True where the kernel is to carry it out.
  [[nodiscard]] bool carried_out_by(const std::string& kernel) const;
  /// The plug-in's own name in its locator: "hello" of "hello@1.2" or "file:///p/hello.so".
  [[nodiscard]] std::string plugin() const;
};

/// What an event did, for those who follow.
struct Effects {
  bool changed = false;            ///< false: late or a repetition
  bool membership = false;         ///< every kernel is told
  std::set<std::string> services;  ///< plug-ins that it is about: who follows one of them is told
  Names kernels;                   ///< who is told in any case
};

/// What a decision changed at many kernels at once, and nobody has noted at each of them yet.
struct LateChange {
  enum class Kind { kAdd, kPut, kErase };  // kAdd: where there is none
  Kind kind = Kind::kAdd;
  Service service;
  Names kernels;
};

/// The whole status. Copying is allowed and dear.
struct VmStatus {
  std::string vm;
  std::uint64_t number = 0;  ///< events so far; the number of the last one
  std::string server;        ///< the kernel that is the status server
  std::uint64_t term = 0;
  std::map<std::string, Member> members;
  Baseline baseline;
  std::map<std::string, Command> commands;
  std::map<std::string, std::map<std::string, std::string>> states;  ///< by plug-in

  // What a copy makes for itself, and no other copy knows of.
  std::map<std::string, LateChange> late;  ///< by plug-in
  std::string own;                         ///< this member's services are never late
  std::optional<Names> everybody;          ///< all members, once somebody asked

  /// Kernels that are there.
  [[nodiscard]] std::size_t present() const;
};

/// Finished commands that are remembered, so that whoever asks again gets the answer.
inline constexpr std::size_t kRemembered = 256;
inline constexpr std::size_t kMostMembers = 8192;
inline constexpr std::size_t kMostStates = 65536;
inline constexpr std::size_t kLargestState = 1 << 18;

/// A member's services, late changes with them.
[[nodiscard]] std::map<std::string, Service> services_of(const VmStatus& status, const Member& member);
/// Notes late changes at every member.
void catch_up(VmStatus& status);

/// Applies an event, an object as event::... make it. What is ill-formed changes nothing but the number: all
/// copies agree on that, too.
Effects apply(VmStatus& status, const nlohmann::json& event);

/// Text of a status and back; `from` is hostile.
[[nodiscard]] nlohmann::json to_json(const VmStatus& status);
[[nodiscard]] Result<VmStatus> status_from(const nlohmann::json& from);
[[nodiscard]] nlohmann::json to_json(const Member& member);
[[nodiscard]] Result<Member> member_from(const nlohmann::json& from);
[[nodiscard]] nlohmann::json to_json(const Command& command);
[[nodiscard]] Result<Command> command_from(const nlohmann::json& from);

/// The events.
namespace event {
/// `as_of`: the event up to which the member's services are what the status had; 0: they are what is.
[[nodiscard]] nlohmann::json joined(const Member& member, std::uint64_t as_of = 0);
[[nodiscard]] nlohmann::json left(const std::string& kernel);
[[nodiscard]] nlohmann::json lost(const std::string& kernel, const std::string& incarnation,
                                  const std::string& why);
[[nodiscard]] nlohmann::json back(const std::string& kernel, const std::string& incarnation);
[[nodiscard]] nlohmann::json baseline(const Baseline& baseline);
[[nodiscard]] nlohmann::json begun(const Command& command);
[[nodiscard]] nlohmann::json decided(const std::string& id, bool commit,
                                     const std::map<std::string, std::string>& unable);
[[nodiscard]] nlohmann::json finished(const std::string& id, const std::map<std::string, std::string>& failed,
                                      const std::set<std::string>& owing);
[[nodiscard]] nlohmann::json thread_ended(const std::string& kernel, const std::string& id);
/// `value` null: forgets it.
[[nodiscard]] nlohmann::json state(const std::string& plugin, const std::string& key,
                                   const nlohmann::json& value);
[[nodiscard]] nlohmann::json server(const std::string& kernel, std::uint64_t term);
/// `copy` 0: it holds the log no longer.
[[nodiscard]] nlohmann::json voter(const std::string& kernel, std::uint64_t copy, std::uint64_t life);
}  // namespace event

}  // namespace mvm::dvm
