#pragma once
// Decisions by policy components, each in a child process of its own; where one crashes, is late or answers
// nonsense, the built-in rule decides instead. Loop thread only; the children are talked to on the executor.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core.h"
#include "mvm/broker/planner.h"
#include "mvm/broker/wiring_plan.h"

namespace mvm::broker {

/// A waiting job as an order rule sees it.
struct WaitingJob {
  std::string id;
  std::string user;
  std::uint64_t number = 0;
  std::int64_t submitted_ms = 0;
  std::uint32_t attempt = 1;
  std::uint64_t milli_vcpus = 0;
  std::uint64_t memory = 0;
  std::uint32_t nodes = 0;
};

/// What users hold now: thousandths of vcpus, by user.
using UsageByUser = std::map<std::string, std::uint64_t>;

struct OrderAnswer {
  std::vector<std::uint32_t> order;  ///< numbers of the jobs, each once
  bool strict = true;                ///< a job that could run later holds up those behind it
};

/// The built-in rule: first come, first served, strictly.
[[nodiscard]] OrderAnswer first_come(const std::vector<WaitingJob>& jobs);

class PolicyChild;

class PolicyRunner {
 public:
  explicit PolicyRunner(Core& core);
  ~PolicyRunner();
  void order(std::vector<WaitingJob> jobs, const UsageByUser& usage, std::function<void(OrderAnswer)> answer);
  /// By this component; empty: by the built-in rule.
  void place(const std::string& component, PlacementProblem problem,
             std::function<void(std::optional<Placement>)> answer);
  /// What each of these components adds, one after the other, to the links' chains. An error where one of
  /// them does not answer: whoever wants his links encrypted must not get them in the clear.
  void extend(std::vector<PolicyUse> uses, std::vector<CarriedLink> links,
              std::function<void(Result<std::vector<CarriedLink>>)> answer);
  /// Ends the children.
  void stop();

 private:
  void rest_later();
  [[nodiscard]] std::shared_ptr<PolicyChild> child(const std::string& component, const char* kind,
                                                   const std::string& options = {});
  void fell_back(const std::string& component, const Error& error);
  void report(const std::string& component, const Error& error, const std::string& consequence);

  Core& core_;
  std::map<std::string, std::shared_ptr<PolicyChild>> children_;  ///< by component and options
  Loop::Timer rest_timer_ = 0;
};

}  // namespace mvm::broker
