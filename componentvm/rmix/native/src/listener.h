#pragma once
// The server's end of native connections.

#include <memory>

#include "mvm/base/result.h"
#include "mvm/rmix/provider.h"

namespace mvm::rmix::native {

[[nodiscard]] Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher);

}  // namespace mvm::rmix::native
