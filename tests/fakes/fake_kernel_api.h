#pragma once
// Kernels that answer what a test says, and remember what they were asked.

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mvm/soap/kernel_api.h"

namespace mvm::soap {

class FakeKernelApi final : public KernelApi {
 public:
  std::vector<KernelView> list;
  KernelOutcome outcome;
  std::optional<Error> error;  ///< answered instead, once

  [[nodiscard]] KernelTargets last_targets() const { return locked(last_targets_); }
  [[nodiscard]] KernelCommand last_command() const { return locked(last_command_); }
  [[nodiscard]] PoolChange last_change() const { return locked(last_change_); }

  Result<std::vector<KernelView>> kernels(const Caller&, const KernelTargets& targets) override {
    const std::lock_guard lock(mutex_);
    last_targets_ = targets;
    if (error) return *std::exchange(error, std::nullopt);
    return list;
  }
  Result<KernelOutcome> command(const Caller&, const KernelCommand& command) override {
    const std::lock_guard lock(mutex_);
    last_command_ = command;
    if (error) return *std::exchange(error, std::nullopt);
    return outcome;
  }
  Result<std::vector<KernelView>> adjust_pools(const Caller&, const KernelTargets& targets,
                                               const PoolChange& change) override {
    const std::lock_guard lock(mutex_);
    last_targets_ = targets;
    last_change_ = change;
    return list;
  }

 private:
  template <class T>
  T locked(const T& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }
  mutable std::mutex mutex_;
  KernelTargets last_targets_;
  KernelCommand last_command_;
  PoolChange last_change_;
};

}  // namespace mvm::soap
