#pragma once
// The status of a distributed virtual machine: membership, services, baseline [Harness 000, §2.2], the
// commands in flight and the states of plug-ins that are kept by all [lightweight kernel, §2].
//
// A replicated state machine: (VmStatus, Event) -> (VmStatus, Effects), without I/O, time or chance. The
// status server's log holds the events in their one order; each kernel follows those it chose.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/dvm/commit_table.h"

namespace mvm::dvm {

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
  std::map<std::string, Service> services;
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
  std::set<std::string> participants;         ///< drawn when it began
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
  std::set<std::string> kernels;   ///< who is told in any case
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

  /// Kernels that are there.
  [[nodiscard]] std::size_t present() const;
};

/// Finished commands that are remembered, so that whoever asks again gets the answer.
inline constexpr std::size_t kRemembered = 256;
inline constexpr std::size_t kMostMembers = 8192;
inline constexpr std::size_t kMostStates = 65536;
inline constexpr std::size_t kLargestState = 1 << 18;

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
[[nodiscard]] nlohmann::json joined(const Member& member);
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
