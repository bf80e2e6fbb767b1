#pragma once
// The container of pluglets as operations of its kernel (docs/formats/pluglets.md).

#include <memory>

#include "mvm/kernel/plugin.h"
#include "mvm/pluglets/container.h"

namespace mvm::plugins::pluglets {

/// The provider's policy: <run>/pluglets.json, else /etc/mvm/pluglets.json, else: nobody but the provider.
/// kRefused where others can write the file.
[[nodiscard]] Result<mvm::pluglets::Policy> read_policy(const kernel::NodeConfig& config);

/// `container` must outlive the kernel's use of them.
[[nodiscard]] Status offer_operations(kernel::Kernel& kernel, mvm::pluglets::Container& container);

}  // namespace mvm::plugins::pluglets
