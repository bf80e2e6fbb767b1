#pragma once
// A program that goes on in the background.

#include <sys/types.h>

#include <filesystem>
#include <functional>

namespace mvm {

struct DetachOptions {
  /// Gets what the program writes to standard output and error, appended (0600, made if absent). Empty:
  /// errors go where they went until it is ready, output and later errors nowhere.
  std::filesystem::path log;
  /// Called in the program that was started by hand, with the process that goes on.
  std::function<void(pid_t)> begun = [](pid_t) {};
};

/// Runs `serve` in a child in a session of its own, and returns 0 when that says that it is ready; where it
/// ends before, its exit code, but not 0, with what it wrote to the log on standard error. Call it before the
/// first thread. The child does not return from it.
[[nodiscard]] int run_detached(const DetachOptions& options,
                               const std::function<int(const std::function<void()>& ready)>& serve);

}  // namespace mvm
