#pragma once
// What libvirt runs as virtiofsd. libvirt 9 cannot share a folder read-only (<readonly/> is refused), and
// "mount -o ro" is the guest's own promise: its root remounts and writes. So the daemon is started by a
// script that makes the folder read-only first, in a mount namespace of its own, on the host's side.

#include <filesystem>

#include "mvm/base/result.h"

namespace mvm::osvm::libvirt {

/// The scripts' paths.
struct VirtiofsDaemons {
  std::filesystem::path read_only;
  std::filesystem::path read_write;  ///< without the right to make devices and file capabilities
};

/// Writes the scripts below `cache`, named by their content; nothing to do where they are there.
[[nodiscard]] Result<VirtiofsDaemons> write_virtiofs_daemons(const std::filesystem::path& cache);

}  // namespace mvm::osvm::libvirt
