#pragma once
// What stays when a container's controller, or libvirtd itself, died at its work.

#include <string>

#include "mvm/base/result.h"

namespace mvm::osvm::libvirt {

/// Kills every process in the control groups of container `id` and removes the groups. No error where there
/// are none, or where control groups cannot be seen.
[[nodiscard]] Status kill_container_leftovers(const std::string& id);

/// Removes the bridge `name` of a network that libvirt does not know (it died while it made or removed it):
/// one of libvirt's making, by its hardware address, without ports; and the firewall's rules for it. No error where there is none such.
[[nodiscard]] Status remove_bridge_leftover(const std::string& name);

}  // namespace mvm::osvm::libvirt
