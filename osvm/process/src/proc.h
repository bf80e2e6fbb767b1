#pragma once
// Reads of /proc.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mvm::osvm::process {

/// One line of /proc/PID/stat.
struct ProcessStat {
  pid_t pid = 0;
  char state = '?';  ///< R S D T Z ...
  pid_t parent = 0;
  std::uint64_t cpu_ticks = 0;  ///< its own and its reaped children's
  std::uint64_t start_ticks = 0;
  std::uint64_t resident_pages = 0;
};

/// Nothing where there is no such process.
[[nodiscard]] std::optional<ProcessStat> stat_of(pid_t pid);

/// True where `pid` is the process that started at `start_ticks` and is no zombie.
[[nodiscard]] bool is_alive(pid_t pid, std::uint64_t start_ticks);

/// All that descends from `pid`, without itself, zombies left out.
[[nodiscard]] std::vector<ProcessStat> descendants(pid_t pid);

/// Processes whose environment holds exactly `variable` ("NAME=VALUE").
[[nodiscard]] std::vector<pid_t> with_variable(const std::string& variable);

}  // namespace mvm::osvm::process
