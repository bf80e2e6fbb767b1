#pragma once
// Errors as SOAP faults and back.

#include <string>
#include <vector>

#include "mvm/base/error.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// Where in the caller's files an error points: its own position, and every line of its message of the form
/// "FILE:LINE:COLUMN: words".
[[nodiscard]] std::vector<Diagnostic> diagnostics_of(const Error& error);

/// The envelope of a fault with its machine-readable detail.
[[nodiscard]] std::string fault_envelope(const Error& error);

}  // namespace mvm::soap
