#pragma once
// The client's end of a native connection.

#include <memory>

#include "mvm/base/result.h"
#include "mvm/rmix/provider.h"
#include "poller.h"

namespace mvm::rmix::native {

[[nodiscard]] Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options,
                                                          std::shared_ptr<Poller> poller);

}  // namespace mvm::rmix::native
