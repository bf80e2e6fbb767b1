#pragma once
// How other plug-ins of a kernel come to its registry without messages:
//
//   MVM_PLUGIN_INTERFACES(nullptr, kNeeds)  // kNeeds holds mvm::registry::kInterface
//   handle = kernel.load("registry");
//   auto of = reinterpret_cast<mvm::registry::RegistryOf>(kernel.symbol(handle, mvm::registry::kSymbol));
//   mvm::registry::Registry& registry = *of();

#include "mvm/registry/registry.h"

namespace mvm::registry {

inline constexpr const char* kInterface = "mvm.registry/1";
inline constexpr const char* kSymbol = "mvm_registry";

/// Valid until the one who loaded the plug-in unloads it. Owners are as the caller says: plug-ins of a kernel
/// trust each other with their names.
using RegistryOf = Registry* (*)();

}  // namespace mvm::registry
