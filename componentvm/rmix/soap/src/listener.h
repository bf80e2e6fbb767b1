#pragma once
// The server's end of SOAP.

#include <memory>

#include "mvm/rmix/provider.h"

namespace mvm::rmix::soap {

[[nodiscard]] Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher);

/// Path prefix and magic of the question whether a service is there: "GET /NAME?rmix".
inline constexpr const char* kAsk = "rmix";
inline constexpr const char* kAnswer = "mvm-rmix-soap/1 ";

}  // namespace mvm::rmix::soap
