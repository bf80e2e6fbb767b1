#pragma once
// The server's end of ONC RPC.

#include <memory>

#include "mvm/rmix/provider.h"

namespace mvm::rmix::onc {

[[nodiscard]] Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher);

}  // namespace mvm::rmix::onc
