#pragma once
// The client's end of ONC RPC.

#include <memory>

#include "mvm/rmix/provider.h"

namespace mvm::rmix::onc {

[[nodiscard]] Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options);

}  // namespace mvm::rmix::onc
