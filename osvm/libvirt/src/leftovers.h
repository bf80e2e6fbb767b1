#pragma once
// What a container leaves when its controller died with no libvirtd to clean up.

#include <string>

#include "mvm/base/result.h"

namespace mvm::osvm::libvirt {

/// Kills every process in the control groups of container `id` and removes the groups. No error where there
/// are none, or where control groups cannot be seen.
[[nodiscard]] Status kill_container_leftovers(const std::string& id);

}  // namespace mvm::osvm::libvirt
