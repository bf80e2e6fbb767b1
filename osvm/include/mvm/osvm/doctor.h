#pragma once
// Checks of the machine, for `mvm doctor`; no daemon of ours is needed.

#include <filesystem>
#include <string>
#include <vector>

namespace mvm::osvm {

/// One thing looked at.
struct Check {
  std::string name;  ///< stable: "control-groups", "shared-memory", "message-queues", "disk", "compiler", ...
  bool ok = false;
  std::string found;  ///< what is there
  std::string mend;   ///< how to mend it; empty where ok
};

/// Looks at control groups, /dev/shm, POSIX message queues, the disk under `state`, compilers, user
/// namespaces and the guest kernel. Takes well under a second.
[[nodiscard]] std::vector<Check> check_machine(const std::filesystem::path& state);

}  // namespace mvm::osvm
