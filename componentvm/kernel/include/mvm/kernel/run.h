#pragma once
// The two halves of mvm-kernel [Engelmann & Geist, lightweight kernel, §2 and §2.1].

#include <functional>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/kernel/config.h"

namespace mvm::kernel {

/// Where the kernel finds its launcher.
struct LauncherLink {
  int control = -1;       ///< our end of the socket to the launcher
  int lock = -1;          ///< the run folder's, held as long as the kernel lives
  std::string boot;       ///< drawn by the launcher
  unsigned restarts = 0;  ///< how often the kernel was started in this boot before
};

/// The launcher: the node's first program (PID 1), or any process. Single-threaded; starts the kernel as its
/// child, `kernel_argv` plus what LauncherLink needs, and again whenever it dies; owns all processes. Returns
/// the program's exit code when it is told to end (SIGTERM, SIGINT): everything it started is dead then.
/// `begun` is called once, when the first kernel has all that it was told to have.
[[nodiscard]] int run_launcher(const Config& config, const std::vector<std::string>& kernel_argv,
                               const std::function<void()>& begun);

/// The kernel: thread pool, plug-in loader, guest channel. Returns the program's exit code on SIGTERM.
[[nodiscard]] int run_kernel(const Config& config, const LauncherLink& link);

}  // namespace mvm::kernel
