#pragma once
// Distributed virtual machines that answer what a test says, and remember what they were asked.

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "mvm/soap/dvm_api.h"

namespace mvm::soap {

class FakeDvmApi final : public DvmApi {
 public:
  std::vector<DvmView> list;
  DvmOutcome outcome;
  std::string last_verb;
  DvmTarget last_target;
  std::vector<std::string> last_nodes;

  Result<std::vector<DvmView>> conf(const Caller&, const DvmTarget& target) override {
    const std::lock_guard lock(mutex_);
    last_target = target;
    std::vector<DvmView> found;
    for (const DvmView& view : list)
      if (target.name.empty() || view.name == target.name) found.push_back(view);
    if (!target.name.empty() && found.empty())
      return Error(ErrorCode::kNotFound, "no machine " + target.name);
    return found;
  }
  Result<DvmOutcome> create(const Caller&, const DvmTarget& target,
                            const std::vector<std::string>& nodes) override {
    return told("create", target, nodes);
  }
  Result<DvmOutcome> add(const Caller&, const DvmTarget& target, const std::string& node) override {
    return told("add", target, {node});
  }
  Result<DvmOutcome> remove(const Caller&, const DvmTarget& target, const std::string& node) override {
    return told("remove", target, {node});
  }
  Result<DvmOutcome> halt(const Caller&, const DvmTarget& target) override {
    return told("halt", target, {});
  }

 private:
  Result<DvmOutcome> told(const char* verb, const DvmTarget& target, std::vector<std::string> nodes) {
    const std::lock_guard lock(mutex_);
    last_verb = verb;
    last_target = target;
    last_nodes = std::move(nodes);
    return outcome;
  }
  std::mutex mutex_;
};

}  // namespace mvm::soap
