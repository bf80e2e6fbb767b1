// SPDX-License-Identifier: Apache-2.0
#pragma once
// A provider made by a function, as the class that MVM_RMIX_PROVIDER exports.

#include <memory>
#include <vector>

#include "mvm/rmix/provider.h"

namespace mvm::rmix {

/// Passes everything on to the provider that `kMake`, a function without arguments, returns a pointer to; it
/// owns that one. Threads and errors as there.
template <auto kMake>
class MadeProvider final : public Provider {
 public:
  [[nodiscard]] std::vector<Scheme> schemes() const override { return provider_->schemes(); }
  [[nodiscard]] Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options) override {
    return provider_->connect(options);
  }
  [[nodiscard]] Result<std::unique_ptr<Listener>> listen(const ListenOptions& options,
                                                         Dispatcher& dispatcher) override {
    return provider_->listen(options, dispatcher);
  }

 private:
  const std::shared_ptr<Provider> provider_ = kMake();
};

}  // namespace mvm::rmix
