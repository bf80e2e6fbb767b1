#pragma once
// Labs: their records, subnets, nodes. A standing lab is kept as its plan says; a job's own lab is looked
// after by the job. Loop thread only.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core.h"
#include "mvm/broker/planner.h"
#include "mvm/broker/wiring_plan.h"
#include "mvm/topologies/profile.h"
#include "records.h"

namespace mvm::broker {

/// What is known of a node that should exist.
struct NodeStatus {
  host::NodeState state = host::NodeState::kBooting;
  std::string boot, wsdl, why;
};

struct Lab {
  LabRecord record;
  Plan plan;                                   ///< its nodes; `node_of` is empty for a standing lab
  std::map<std::string, std::uint32_t> index;  ///< node name → number in plan.nodes
  std::map<std::string, NodeStatus> status;
  std::set<std::string> jobs;                          ///< that are not ended
  std::shared_ptr<const topologies::Profile> profile;  ///< of a standing lab
  std::uint32_t busy = 0;                              ///< parts under way
  std::uint64_t token = 0;                             ///< of the bringing up or down that counts
  bool up = false;
  std::string trouble;  ///< why it is not up yet
};

class Labs {
 public:
  explicit Labs(Core& core) : core_(core) {}
  [[nodiscard]] Status load();
  /// After load(): standing labs are brought to what their records say.
  void resume();

  [[nodiscard]] Lab* find(const std::string& id);
  [[nodiscard]] const std::map<std::string, std::unique_ptr<Lab>>& all() const { return labs_; }

  /// A lab of a job's own, without nodes yet.
  Lab& add_for_job(const std::string& job, std::uint64_t number, const std::string& user,
                   const std::string& name);
  /// Gives the plan its subnets and addresses and makes it the lab's. kExhausted where the pool or a subnet
  /// is full.
  [[nodiscard]] Status assign(Lab& lab, Plan& plan);
  void remove(const std::string& id);

  /// A standing lab: recorded and planned; its nodes come up in the background.
  [[nodiscard]] Result<std::string> create(const std::string& user, const std::string& name,
                                           std::string profile_digest,
                                           std::map<std::string, std::string> settings,
                                           std::shared_ptr<const topologies::Profile> profile, Plan plan);
  void destroy(Lab& lab);
  /// A job of it has ended.
  void job_ended(const std::string& lab, const std::string& job);

  /// Makes the lab ready for a job's links, as part of a commit: hosts are told with the next ensure_lab.
  void will_carry(Lab& lab, const WiringLayout& layout);
  /// The same beside all that it carries now. True where it was not ready for it before.
  [[nodiscard]] bool will_also_carry(Lab& lab, const WiringLayout& layout);
  /// What a domain's proxy proves itself with: another one each time; empty where the broker has no
  /// authority.
  [[nodiscard]] host::LinkIdentity identity(const Lab& lab, const std::string& domain) const;
  [[nodiscard]] host::LabSpec spec(const Lab& lab, const std::string& host) const;
  [[nodiscard]] host::NodeSpec node_spec(const Lab& lab, const PlanNode& node) const;
  [[nodiscard]] static std::string bridge_address(const std::string& subnet);

  // ---- what hosts tell
  [[nodiscard]] bool belongs(const std::string& lab, const std::string& host) const;
  [[nodiscard]] bool has_node(const std::string& lab, const std::string& node, const std::string& host) const;
  /// Labs that have anything on a host.
  [[nodiscard]] std::vector<std::string> on_host(const std::string& host) const;
  void compare(const std::string& host, const host::Inventory& inventory);
  void node_up(const std::string& lab, const host::NodeInfo& info);
  /// The host took it over from an earlier daemon: what it is is asked for again.
  void meet(const std::string& lab, const std::string& node);
  /// `boot`: which boot of it was lost; empty: the present one.
  void node_lost(const std::string& lab, const std::string& node, const std::string& reason,
                 const std::string& boot = {});
  void add_usage(HostSnapshot& host) const;

 private:
  [[nodiscard]] Result<std::string> free_subnet();
  Lab& insert(LabRecord record);
  void set_plan(Lab& lab, Plan plan);
  void bring_up(Lab& lab);
  void boot(Lab& lab, const PlanNode& node, bool again);
  void booted(const std::string& id, std::uint64_t token, const std::string& node, const Status& status);
  void check_up(Lab& lab);
  void bring_down(Lab& lab);

  Core& core_;
  std::map<std::string, std::unique_ptr<Lab>> labs_;
  std::uint32_t last_subnet_ = 0;
};

}  // namespace mvm::broker
