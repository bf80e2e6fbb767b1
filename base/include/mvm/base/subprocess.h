#pragma once
// Child processes: started without a shell, waited for by pidfd, never left behind.

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm {

/// How to start a program.
struct SpawnOptions {
  std::vector<std::string> argv;                                 ///< argv[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> environment;  ///< replaces the whole environment when set
  bool inherit_environment = true;                               ///< `environment` is added to ours
  int standard_input = -1;                                       ///< -1: /dev/null
  int standard_output = -1;                                      ///< -1: inherited
  int standard_error = -1;                                       ///< -1: inherited
  std::vector<std::pair<int, int>> descriptors;  ///< (ours, its number in the child); it gets no others
  bool new_group = false;  ///< a process group of its own: the keys of our terminal do not reach it
};

/// How a process ended.
struct ExitStatus {
  int code = 0;    ///< exit code; 128 + signal where a signal ended it
  int signal = 0;  ///< 0: it exited by itself
  [[nodiscard]] bool success() const { return code == 0 && signal == 0; }
};

/// A running child. Destroying it kills (SIGKILL) and reaps the child unless detached.
class Subprocess {
 public:
  [[nodiscard]] static Result<Subprocess> spawn(const SpawnOptions& options);
  Subprocess(Subprocess&&) noexcept;
  Subprocess& operator=(Subprocess&&) noexcept;
  ~Subprocess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// A descriptor that polls readable when the child has ended.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  void signal(int number) const;
  /// Waits up to `timeout`; nothing where the child still runs.
  [[nodiscard]] std::optional<ExitStatus> wait_for(std::chrono::milliseconds timeout);
  [[nodiscard]] ExitStatus wait();
  /// SIGTERM, up to `grace`, then SIGKILL; reaps.
  ExitStatus stop(std::chrono::milliseconds grace);
  /// Gives up ownership: the child lives on.
  void detach();

 private:
  Subprocess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::optional<ExitStatus> status_;
};

/// What a finished program said.
struct Captured {
  ExitStatus status;
  std::string output;  ///< standard output, at most `limit` bytes
  std::string errors;  ///< standard error, at most `limit` bytes
};

/// Runs a program to its end, with both streams captured. Killed at the deadline (kTimeout).
[[nodiscard]] Result<Captured> run_captured(SpawnOptions options, std::chrono::milliseconds timeout,
                                            std::size_t limit = 1 << 20);

}  // namespace mvm
