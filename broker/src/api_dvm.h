#pragma once
// soap::DvmApi over the kernels of nodes. Any thread but the loop's. What there is, the kernels know: the
// broker keeps nothing.

#include "api.h"
#include "mvm/soap/dvm_api.h"
#include "node_targets.h"

namespace mvm::broker {

class DvmService final : public soap::DvmApi {
 public:
  explicit DvmService(Core& core) : core_(core) {}
  Result<std::vector<soap::DvmView>> conf(const soap::Caller&, const soap::DvmTarget&) override;
  Result<soap::DvmOutcome> create(const soap::Caller&, const soap::DvmTarget&,
                                  const std::vector<std::string>& nodes) override;
  Result<soap::DvmOutcome> add(const soap::Caller&, const soap::DvmTarget&, const std::string& node) override;
  Result<soap::DvmOutcome> remove(const soap::Caller&, const soap::DvmTarget&,
                                  const std::string& node) override;
  Result<soap::DvmOutcome> halt(const soap::Caller&, const soap::DvmTarget&) override;

 private:
  struct Seat;
  struct Machine;
  Result<std::vector<Seat>> look(const soap::Caller& caller, const std::string& lab,
                                 const std::vector<std::string>& nodes);
  Result<Machine> machine(const soap::Caller& caller, const soap::DvmTarget& target);
  static soap::DvmView view(const NodeTarget& speaker, const nlohmann::json& self, const std::string& lab,
                            const std::string& name);
  static Status fits(const Seat& seat, const Seat& other);
  static Status join(Seat& seat, const Seat& speaker, const std::string& name);
  void note(const soap::Caller& caller, const soap::DvmTarget& target, const std::string& what);
  Core& core_;
};

}  // namespace mvm::broker
