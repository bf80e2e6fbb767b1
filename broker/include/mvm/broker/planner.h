#pragma once
// Where nodes and processes go. Pure: (Snapshot, Request) -> Plan, or every reason why not, host by host.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/host/host_agent.h"
#include "mvm/topologies/profile.h"

namespace mvm::broker {

/// A host with what labs use of it already.
struct HostSnapshot {
  host::HostInfo info;
  bool usable = true;
  std::string unusable_why;           ///< "does not answer", "drained"
  std::uint64_t container_vcpus = 0;  ///< used by containers and plain processes
  std::uint64_t guest_vcpus = 0;      ///< used by QEMU guests
  std::uint64_t memory_used = 0;      ///< bytes
};

/// A node that exists in the lab that the job is to run in.
struct ExistingNode {
  std::string node, host, driver, image, image_digest, architecture, address;
  std::string toolchain;  ///< what its image compiles with; empty: nothing
  std::uint32_t vcpus = 0;
  std::uint64_t memory = 0;
  std::string machines;  ///< name of its set of machines
  bool up = true;
  std::uint32_t seat = 0;  ///< as PlanNode
};

/// How many of a host's vcpus may be promised at once.
struct Overcommit {
  double container = 8.0;
  double guest = 2.0;
};

struct Snapshot {
  std::vector<HostSnapshot> hosts;
  std::vector<ExistingNode> nodes;  ///< of the lab in which the job runs; empty: it gets a lab of its own
  bool in_lab = false;
  Overcommit overcommit;
};

/// One node of a plan.
struct PlanNode {
  std::string node, host, driver, image, image_digest, architecture;
  std::string address;  ///< given when the plan is committed; a lab's node has its own
  std::uint32_t vcpus = 0;
  std::uint64_t memory = 0;
  std::string toolchain;  ///< what its image compiles with, "g++ 12.2.0"; empty: nothing
  std::string machines;
  bool existing = false;
  std::uint32_t seat = 0;  ///< a guest's place in its host's shared region, from 1; 0: none
  bool operator==(const PlanNode&) const = default;
};

struct Plan {
  std::vector<PlanNode> nodes;
  std::vector<std::uint32_t> node_of;  ///< for each process of the graph its number in `nodes`
  /// Processes that a rewiring started, and its number; all others began with the attempt.
  std::map<topologies::ProcessId, std::uint64_t> born;
  /// Links whose chain of codecs a policy made longer than the topology says: all of the chain.
  std::map<topologies::LinkId, std::vector<std::string>> codecs;
  bool operator==(const Plan&) const = default;
};

/// How the processes of a set of machines are laid over them.
enum class Layout : std::uint8_t {
  kBlock,   ///< neighbours together
  kCyclic,  ///< one after the other around the machines
};

/// What a placement rule decides on: numbers only.
struct PlacementProblem {
  struct Host {
    std::uint64_t milli_vcpus = 0;      ///< free thousandths of a vcpu, after overcommitment's factor
    std::uint64_t memory = 0;           ///< free bytes
    std::uint64_t milli_vcpus_all = 0;  ///< of the empty host
    std::uint64_t memory_all = 0;
  };
  /// A set of equal nodes.
  struct Set {
    std::uint32_t count = 0;
    std::uint64_t milli_vcpus = 0;  ///< what each takes
    std::uint64_t memory = 0;
    std::vector<std::uint32_t> hosts;  ///< those that can boot it, ascending
  };
  std::vector<Host> hosts;
  std::vector<Set> sets;
};

/// For each set in order each of its nodes' host, flat; and how processes are laid.
struct Placement {
  std::vector<std::uint32_t> host_of;
  Layout layout = Layout::kBlock;
};

/// The built-in rule: hosts are filled one after the other, fullest first. None where the nodes do not fit.
[[nodiscard]] std::optional<Placement> pack(const PlacementProblem& problem);

/// kConflict with what is wrong unless every node has a host that can boot it and has room.
[[nodiscard]] Status check_placement(const PlacementProblem& problem, const Placement& placement);

/// The problem behind a request; or, where not even empty hosts could do it or they are too full now, the
/// reasons.
struct Preparation {
  PlacementProblem problem;
  std::vector<std::string> reasons;  ///< one for each host and each set of machines that it cannot take
  bool hopeless = false;             ///< some set of machines can be booted nowhere at all, now
};
[[nodiscard]] Preparation prepare(const Snapshot& snapshot, const topologies::Profile& profile);

/// Why a problem whose every set has a host with room cannot be placed as a whole.
[[nodiscard]] std::vector<std::string> explain_shortage(const Snapshot& snapshot,
                                                        const topologies::Profile& profile,
                                                        const PlacementProblem& problem);

/// The plan for a placement that was checked. kInvalid where a role has no machines. Where the topology
/// forces transports that this placement does not allow, another one is looked for that does: machines whose
/// processes are to share memory go on one host. kNoPlacement, a reason a line, where there is none.
[[nodiscard]] Result<Plan> make_plan(const Snapshot& snapshot, const topologies::Profile& profile,
                                     const Placement& placement);
/// The plan of a job that runs on the nodes of an existing lab; kNoPlacement with the reasons in the message.
[[nodiscard]] Result<Plan> plan_in_lab(const Snapshot& snapshot, const topologies::Profile& profile);

/// The plan of a running job that gets another graph: who goes on stays where it is, and processes that are
/// new, started by rewiring `number`, join the job's nodes in blocks, so that its roles' nodes end up as
/// evenly filled as can be. `before` is the graph that `plan` was made for. kNoPlacement, a reason a line,
/// where the nodes of a role have no room; kInvalid where a role has no machines.
[[nodiscard]] Result<Plan> follow_graph(const Plan& plan, const topologies::Graph& before,
                                        const topologies::Profile& next, std::uint64_t number);

/// All of it with the built-in rule.
struct PlanOutcome {
  std::optional<Plan> plan;
  std::vector<std::string> reasons;
};
[[nodiscard]] PlanOutcome plan(const Snapshot& snapshot, const topologies::Profile& profile);

/// What a node takes of a host's processors: thousandths of a vcpu.
[[nodiscard]] std::uint64_t milli_cost(const std::string& driver, std::uint32_t vcpus,
                                       const Overcommit& overcommit);

}  // namespace mvm::broker
