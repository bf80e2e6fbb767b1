#pragma once
// The images that this host can boot: those shipped, and those described in its folder.

#include <vector>

#include "config.h"
#include "mvm/base/result.h"
#include "mvm/host/local_host_agent.h"

namespace mvm::programs {

/// Reads the image descriptions and finds out what the machine itself offers. A description that cannot be
/// used here is logged with its reason and left out; an invalid file is an error.
[[nodiscard]] Result<std::vector<host::HostImage>> load_images(const DaemonConfig& config);

}  // namespace mvm::programs
