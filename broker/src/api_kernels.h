#pragma once
// soap::KernelApi over the core. Any thread but the loop's.

#include "api.h"
#include "mvm/soap/kernel_api.h"
#include "node_targets.h"

namespace mvm::broker {

class KernelService final : public soap::KernelApi {
 public:
  explicit KernelService(Core& core) : core_(core) {}
  Result<std::vector<soap::KernelView>> kernels(const soap::Caller&, const soap::KernelTargets&) override;
  Result<soap::KernelOutcome> command(const soap::Caller&, const soap::KernelCommand&) override;
  Result<std::vector<soap::KernelView>> adjust_pools(const soap::Caller&, const soap::KernelTargets&,
                                                     const soap::PoolChange&) override;

 private:
  void note(const soap::Caller& caller, const soap::KernelCommand& command,
            const soap::KernelOutcome& outcome);
  Core& core_;
};

}  // namespace mvm::broker
