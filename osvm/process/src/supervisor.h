#pragma once
// The supervisor of one process-driver VM: a forked process that outlives the daemon.

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::osvm::process {

/// What a supervisor runs.
struct Program {
  std::vector<std::string> argv;         ///< argv[0] absolute
  std::vector<std::string> environment;  ///< NAME=VALUE, all of it
  std::filesystem::path folder;          ///< working folder
  std::filesystem::path log;             ///< standard output and error, appended
  std::filesystem::path end_note;        ///< receives "exit N" or "signal N" once nothing of the VM lives
};

/// A supervisor that waits for the word to start.
class Supervisor {
 public:
  /// Forks it. It starts nothing before start(), and ends if this object goes without start(): so the caller
  /// can write its record first.
  [[nodiscard]] static Result<Supervisor> fork(const Program& program);
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Lets it start the program and waits until that runs; returns the program's pid, or why it cannot be
  /// executed.
  [[nodiscard]] Result<pid_t> start();

 private:
  Supervisor(pid_t pid, UniqueFd control) : pid_(pid), control_(std::move(control)) {}
  pid_t pid_;
  UniqueFd control_;
};

}  // namespace mvm::osvm::process
