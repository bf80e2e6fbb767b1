#pragma once
// The process driver: an OS-level VM without isolation, for a machine without libvirt, and for tests.

#include <filesystem>
#include <memory>

#include "mvm/osvm/hypervisor.h"

namespace mvm::osvm::process {

/// Where it keeps what it knows.
struct Options {
  std::filesystem::path state;  ///< folder of this driver's records, one file per VM; made where missing
};

/// A VM is the first program and all that descends from it, in a session of its own under a small supervisor
/// that outlives this object and adopts orphans, so that destroy() leaves no process. Inside, /run/mvm, /work
/// and /opt/mvm do not exist: the environment names the host's folders instead (MVM_RUN, MVM_WORK,
/// MVM_TOOLS), and argv[0] under /opt/mvm is looked up under VmSpec::tools.
[[nodiscard]] Result<std::unique_ptr<Hypervisor>> open(Options options);

}  // namespace mvm::osvm::process
