#pragma once
// locator.*: what a URL names is brought into the plug-in cache of this kernel. [Harness 000, §2.3]

#include <optional>

#include "mvm/kernel/plugin.h"
#include "mvm/repository/fetcher.h"

namespace mvm::plugins::locator {

/// Thread-safe.
class Locators {
 public:
  explicit Locators(kernel::Kernel& kernel) : kernel_(kernel) {}
  [[nodiscard]] Status offer();

 private:
  Result<kernel::Answer> fetch(const kernel::Call& call) const;

  kernel::Kernel& kernel_;
  std::optional<repository::Fetcher> fetcher_;
};

}  // namespace mvm::plugins::locator
