#pragma once
// What a process of a job is allowed: user, capabilities, limits, system calls. Used between fork and exec.

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/kernel/process.h"

namespace mvm::kernel {

/// System calls that neither jobs nor builds need and that have a history of letting processes out.
class SyscallFilter {
 public:
  /// Compiles the filter once. `for_builds`: stricter, no tracing of other processes.
  [[nodiscard]] static Result<SyscallFilter> compile(bool for_builds);
  /// Applies it to this process and what it starts; needs no_new_privs. False with errno set where it fails.
  [[nodiscard]] bool apply() const;

 private:
  std::vector<sock_filter> program_;
};

/// Sets the resource limits of this process. Answers the name of the step that failed, or null.
[[nodiscard]] const char* set_limits(const ProcessLimits& limits);

/// Gives up root for good: no capability, not even one to be gained by exec. Answers the failed step or null.
/// `drop`: also become this user and group; else only no_new_privs.
[[nodiscard]] const char* give_up_privileges(bool drop, uid_t user, gid_t group);

}  // namespace mvm::kernel
