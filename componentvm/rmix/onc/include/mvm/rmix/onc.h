#pragma once
// ONC RPC over TCP as an RMIX provider: docs/formats/rmix-onc.md. Scheme "onc+tcp".

#include <memory>

#include "mvm/rmix/provider.h"

namespace mvm::rmix {

/// For programs that bring it along; the plug-in is the same.
[[nodiscard]] std::shared_ptr<Provider> make_onc_provider();

}  // namespace mvm::rmix
