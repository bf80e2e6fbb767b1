#pragma once
// The operations registry.* of a node. docs/formats/registry.md.

#include <atomic>
#include <memory>

#include "current.h"
#include "mvm/kernel/plugin.h"

namespace mvm::plugins::registry {

class Operations {
 public:
  Operations(kernel::Kernel& kernel, Current& registry) : kernel_(kernel), registry_(registry) {}
  [[nodiscard]] Status offer();

 private:
  using Call = kernel::Call;
  using Answer = kernel::Answer;
  [[nodiscard]] Result<std::string> owner_of(const Call& call) const;
  Result<Answer> put(Call& call);
  Result<Answer> recv(Call& call);
  Result<Answer> del(Call& call);
  Result<Answer> list(Call& call);
  Result<Answer> watch(Call& call);
  Result<Answer> grant(Call& call);
  Result<Answer> keep(Call& call);
  Result<Answer> revoke(Call& call);
  Result<Answer> get_vm_info(Call& call);
  Result<Answer> members(Call& call);
  Result<Answer> confirm_death(Call& call);
  Result<Answer> confirm_lost(Call& call);
  Result<Answer> leave(Call& call);
  Result<Answer> configure(Call& call);
  Result<Answer> invite(Call& call);
  Result<Answer> forget(Call& call);

  kernel::Kernel& kernel_;
  Current& registry_;
  std::atomic<int> waiting_{0};
};

}  // namespace mvm::plugins::registry
