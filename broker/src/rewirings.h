#pragma once
// Rewirings of running jobs: their transitions, made durable, and their effects, executed. Loop thread only.
// docs/architecture.md, "Rewiring".

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core.h"
#include "hosts.h"
#include "jobs.h"
#include "mvm/broker/rewire_machine.h"
#include "mvm/topologies/rewiring.h"
#include "rewire_records.h"

namespace mvm::broker {

/// A wiring that was thought through and not begun.
struct RewirePlan {
  topologies::Difference difference;
  std::vector<std::string> steps;
  std::shared_ptr<const topologies::Profile> profile;  ///< with the graph
  Plan plan;
  WiringLayout layout;
};

/// Its counts, not begun yet.
[[nodiscard]] RewireEntry entry_of(std::uint64_t number, const topologies::Difference& difference);

class Rewirings {
 public:
  explicit Rewirings(Core& core) : core_(core) {}
  [[nodiscard]] Status load();
  /// After load(): takes every rewiring up where it was.
  void resume();

  /// What giving a running job this graph comes to. kConflict where the job does not run, or a rewiring of it
  /// is under way (busy() tells them apart); kUnsupported for what cannot change; kNoPlacement where new
  /// processes have no place.
  [[nodiscard]] Result<RewirePlan> plan(Job& job, topologies::Graph graph);
  [[nodiscard]] bool busy(const Job& job) const;
  /// Begins it. The number that find_entry() takes.
  [[nodiscard]] std::uint64_t begin(Job& job, RewirePlan plan, std::chrono::milliseconds deadline);
  /// Null where it was never asked for, or too long ago.
  [[nodiscard]] const RewireEntry* find_entry(const Job& job, std::uint64_t number) const;
  [[nodiscard]] RewireState state(const Job& job) const;

  /// The wiring of the job's present attempt; none where it is the first one, which follows from the plan.
  [[nodiscard]] Result<std::optional<WiringLayout>> layout(const Job& job);
  /// The graph of a job that was rewired.
  [[nodiscard]] Result<topologies::Graph> graph(const std::string& job);

  // ---- processes that come and go (rewire_processes.cpp)
  /// Those that are, or were, to leave in the job's present attempt.
  [[nodiscard]] const std::vector<MovingProcess>& leavers(const Job& job) const;
  /// The node in the plan of a process that comes or goes and has not ended; kNowhere where there is none.
  static constexpr std::uint32_t kNowhere = 0xffffffffU;
  [[nodiscard]] std::uint32_t moving_node(const Job& job, const std::string& tag) const;
  /// Such a process has ended.
  void moving_ended(Job& job, const std::string& tag, const EndRecord& end);

  // ---- the job's word
  /// It does not run (any more): within the group of its transition.
  void left(Job& job);
  /// A new attempt of it begins: wired anew, from its present graph.
  void renewed(const std::string& job);
  void forget(const std::string& job);

 private:
  struct Rewiring {
    RewireRecord record;
    std::optional<RewirePlan> next;
    std::uint64_t token = 0;  ///< changes with the state
    std::size_t parts = 0;
    std::map<std::string, nlohmann::json> sent;  ///< domain → what it certainly has, but for the generation
    bool held = false;             ///< kSwitching: every domain's consumers have it, and their producers may
    bool stopped = false;          ///< kUndoing: whoever was started is ended
    std::set<std::string> joined;  ///< kStarting: newcomers that have come for their ends
    std::set<std::uint32_t> drained;
    std::chrono::milliseconds pause{0};  ///< between looks at what drains
    bool asking = false;                 ///< hosts are asked for their addresses
  };

  /// What one host is asked for in a state.
  struct Part {
    std::string host;
    Hosts::Work work;
    std::string domain;  ///< whose wiring this is; empty: it is none
    nlohmann::json steps;
  };

  [[nodiscard]] Rewiring& of(Job& job);
  [[nodiscard]] const Rewiring* present(const Job& job) const;
  [[nodiscard]] std::uint64_t next_number(const Job& job) const;
  [[nodiscard]] Status check_moving(const Job& job, const topologies::Difference& difference) const;
  [[nodiscard]] WiringContext context(const Job& job, const Rewiring& mine, const WiringLayout& layout) const;
  [[nodiscard]] Status check_policies(const Job& job, const WiringLayout& next) const;
  void save(const Job& job, const Rewiring& mine);
  void fire(Job& job, RewireEvent event, const std::string& reason = {});
  void entered(Job& job, Rewiring& mine, RewireState before, const std::string& reason);
  void decide(Job& job, Rewiring& mine);
  void drop_next(const std::string& job, Rewiring& mine);
  void start_effect(Job& job);
  [[nodiscard]] bool know_hosts(Job& job, Rewiring& mine);
  [[nodiscard]] std::vector<HostWiring> steps_of(Job& job, Rewiring& mine);
  [[nodiscard]] std::set<std::string> concerned_later(Job& job, const Rewiring& mine) const;
  void send(Job& job, Rewiring& mine);
  void run(Job& job, Rewiring& mine, std::vector<Part> parts, bool patient);
  [[nodiscard]] Result<RewirePlan> recall(Job& job);
  void part_done(const std::string& id, std::uint64_t token, const std::string& host,
                 const std::string& domain, const nlohmann::json& steps, const Status& status);
  void failed(Job& job, Rewiring& mine, const std::string& host, const Error& error);
  void effect_done(Job& job, Rewiring& mine);
  void watch_deadline(Job& job, Rewiring& mine);
  [[nodiscard]] static std::string late(const Rewiring& mine);

  // ---- processes that come and go (rewire_processes.cpp)
  [[nodiscard]] Status check_newcomers(const Job& job, const topologies::Profile& next, const Plan& plan,
                                       std::uint64_t number) const;
  [[nodiscard]] static std::vector<MovingProcess> newcomers_of(const RewirePlan& plan, std::uint64_t number);
  void start_newcomers(Job& job, Rewiring& mine);
  [[nodiscard]] static bool all_joined(const Rewiring& mine);
  void look_at_newcomers(const std::string& id, std::uint64_t token);
  void stop_newcomers(Job& job, Rewiring& mine);
  void take_over(Job& job, Rewiring& mine);
  [[nodiscard]] std::set<std::string> parted(const Job& job, const Rewiring& mine) const;
  void watch_leavers(const Job& job, const Rewiring& mine);
  void watch_leaver(const std::string& id, std::uint32_t attempt, const std::string& tag,
                    std::chrono::milliseconds delay, int signal);
  void end_leaver(const std::string& id, std::uint32_t attempt, const std::string& tag, int signal);

  // ---- draining (rewire_drain.cpp)
  void watch_drain(Job& job, Rewiring& mine);
  void look_at_drain(const std::string& id, std::uint64_t token);

  Core& core_;
  std::map<std::string, Rewiring> rewirings_;  ///< by job; only of jobs that were ever rewired
};

}  // namespace mvm::broker
