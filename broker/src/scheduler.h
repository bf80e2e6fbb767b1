#pragma once
// Which job next, and where: asks the policies for an order and for places, one pass at a time. Loop thread
// only.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core.h"
#include "mvm/broker/planner.h"
#include "policy_runner.h"

namespace mvm::broker {

struct Job;

class Scheduler {
 public:
  explicit Scheduler(Core& core);
  ~Scheduler();
  /// Something changed: looks again, soon.
  void wake();
  void stop();
  /// What the planner would see for a job in this lab; empty: for one with a lab of its own.
  [[nodiscard]] Snapshot snapshot(const std::string& lab) const;

 private:
  void pass();
  void ordered(std::vector<std::string> jobs, bool strict);
  void next();
  void place(Job& job);
  void placed(const std::string& id, const PlacementProblem& problem,
              const std::optional<Placement>& placement);
  void link(Job& job, Plan plan, const std::optional<Placement>& placement);
  void linked(const std::string& id, Plan plan, const std::optional<Placement>& placement,
              Result<std::vector<CarriedLink>> links);
  [[nodiscard]] Result<Plan> plan_for(const Job& job, const std::optional<Placement>& placement) const;
  void settle(Job& job, Result<Plan> plan);
  void cannot(Job& job, std::vector<std::string> reasons, bool hopeless);
  void done();

  Core& core_;
  std::unique_ptr<PolicyRunner> policies_;
  std::vector<std::string> queue_;  ///< jobs of this pass, in order
  std::size_t at_ = 0;
  bool strict_ = false;      ///< a job that must wait for room holds up those behind it
  std::size_t waiting_ = 0;  ///< jobs of this pass that found no room
  bool running_ = false;
  bool again_ = false;
  bool posted_ = false;
};

}  // namespace mvm::broker
