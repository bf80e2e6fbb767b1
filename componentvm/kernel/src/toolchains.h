#pragma once
// Which compilers and build tools this node has.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mvm/kernel/config.h"

namespace mvm::kernel {

/// [{"name":"g++","version":"12.2.0"}, ...] of the well-known tools in the program folders. `versions`: run
/// each to ask for its version (some milliseconds each); else the version is empty.
[[nodiscard]] nlohmann::json find_toolchains(const Config& config, bool versions);

}  // namespace mvm::kernel
