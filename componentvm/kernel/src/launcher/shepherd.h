#pragma once
// One small process between the launcher and each process of a job: it adopts all that the job's process
// starts and leaves behind, so that nothing of it survives it, however the processes detach themselves or
// whoever is killed.

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "confine.h"
#include "mvm/base/unique_fd.h"
#include "mvm/kernel/process.h"

namespace mvm::kernel {

/// What the shepherd tells the launcher, in one write to a pipe: held or not at all, started or failed,
/// exited.
struct ShepherdReport {
  enum class Kind : std::uint32_t { kHeld, kStarted, kFailed, kExited };
  Kind kind = Kind::kFailed;
  std::int32_t pid = 0;
  std::int32_t problem = 0;  ///< kFailed: errno
  std::int32_t status = 0;   ///< kExited: as from waitpid
  std::uint64_t user_ms = 0;
  std::uint64_t system_ms = 0;
  std::uint64_t max_rss = 0;    ///< bytes
  std::array<char, 64> step{};  ///< kFailed: what failed
};

/// Everything the shepherd needs, made by the launcher before the fork.
struct ShepherdPlan {
  std::string program;  ///< resolved path
  std::vector<std::string> argv;
  std::vector<std::string> environment;  ///< NAME=VALUE
  std::string folder;
  ProcessLimits limits;
  bool isolate = false;
  bool drop = false;
  uid_t user = 0;
  gid_t group = 0;
  std::array<int, 3> standard{};                 ///< stdin, stdout, stderr of the process
  std::vector<std::pair<int, int>> descriptors;  ///< (ours, number in the process)
  const SyscallFilter* filter = nullptr;
  int report = -1;     ///< ShepherdReports go here
  int gate = -1;       ///< held: the process waits here for a byte before it executes its program
  pid_t launcher = 0;  ///< our parent
};

/// The life of a shepherd; called in the child of a fork. SIGTERM: kill everything, report, leave. Never
/// returns.
[[noreturn]] void be_shepherd(const ShepherdPlan& plan);

/// Kills all descendants of this process and reaps them; the caller is their sub-reaper or PID 1. Processes
/// cannot run away by forking: all are stopped before the first is killed.
void kill_descendants();

}  // namespace mvm::kernel
