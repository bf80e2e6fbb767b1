#pragma once
// The client's end of SOAP.

#include <memory>

#include "mvm/rmix/provider.h"

namespace mvm::rmix::soap {

[[nodiscard]] Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options);

}  // namespace mvm::rmix::soap
