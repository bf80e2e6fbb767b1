#pragma once
// Runs a job profile on plain processes of this machine, without any daemon: the real reader, the real
// builds, real queues, libmvm. What the sources and topologies say is tested here; machines are not.

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::test {

/// How one process ended, and what it said.
struct PlainProcess {
  std::string name;  ///< "cell[3]"
  int code = 0;
  std::string output;  ///< both streams
};

struct PlainRun {
  std::vector<PlainProcess> processes;
  std::map<std::string, std::string> results;  ///< staged out: name -> content
};

/// Builds and runs the job; removes everything it made. kTimeout where it takes longer than `limit`.
[[nodiscard]] Result<PlainRun> run_plain(const std::filesystem::path& job_file,
                                         const std::map<std::string, std::string>& set,
                                         std::chrono::seconds limit);

}  // namespace mvm::test
