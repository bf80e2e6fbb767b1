#pragma once
// The operations registry.* of a node. docs/formats/registry.md.

#include <atomic>
#include <memory>

#include "mvm/kernel/plugin.h"
#include "mvm/registry/registry.h"
#include "mvm/replica/replica.h"
#include "sessions.h"

namespace mvm::plugins::registry {

class Operations {
 public:
  /// `replica`: of a replicated registry, else null.
  Operations(kernel::Kernel& kernel, mvm::registry::Registry& registry, replica::Replica* replica);
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
  [[nodiscard]] Status known(std::uint64_t id) const;

  kernel::Kernel& kernel_;
  mvm::registry::Registry& registry_;
  replica::Replica* replica_;
  Sessions sessions_;
  std::atomic<int> waiting_{0};
};

}  // namespace mvm::plugins::registry
