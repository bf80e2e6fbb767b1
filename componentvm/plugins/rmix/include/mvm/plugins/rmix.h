// SPDX-License-Identifier: Apache-2.0
#pragma once
// RMIX in the kernel, for other plug-ins: one server and one client that all of them share.
// docs/formats/rmix.md, "In the kernel". [Engelmann & Geist, lightweight kernel, §3: the base plug-in]

#include "mvm/kernel/plugin.h"
#include "mvm/rmix/client.h"
#include "mvm/rmix/providers.h"
#include "mvm/rmix/server.h"

namespace mvm::plugins {

/// What the plug-in `rmix` offers, valid while it is loaded. Services that a plug-in adds it removes when it
/// stops.
class Rmix {
 public:
  virtual ~Rmix() = default;
  /// Its endpoints are open already; callers it does not know are refused before any service sees them.
  [[nodiscard]] virtual rmix::Server& server() = 0;
  /// Shows the kernel's own token.
  [[nodiscard]] virtual rmix::Client& client() = 0;
  [[nodiscard]] virtual const rmix::Providers& providers() const = 0;
  /// Who is known: for services with a permission of their own that want this one, too.
  [[nodiscard]] virtual Status known(const rmix::Caller& caller) const = 0;
};

/// Loads the plug-in for the one that asks; it goes with that, at the latest.
[[nodiscard]] inline Result<Rmix*> load_rmix(kernel::Kernel& kernel) {
  MVM_ASSIGN(const kernel::PluginHandle handle, kernel.load("rmix"));
  void* const found = kernel.symbol(handle, "mvm_rmix");
  if (found == nullptr) return Error(ErrorCode::kUnsupported, "the plug-in rmix offers no mvm_rmix");
  return reinterpret_cast<Rmix* (*)()>(found)();
}

}  // namespace mvm::plugins
