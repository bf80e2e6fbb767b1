#pragma once
// How a build command is run inside a node: its environment and its limits.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mvm::build {

/// Bounds of a build; what a profile does not say.
struct BuildLimits {
  std::uint64_t wall_ms = 10ULL * 60 * 1000;
  std::uint64_t cpu_s = 600;          ///< each process
  std::uint64_t memory = 4ULL << 30;  ///< bytes of address space, each process
  std::uint64_t processes = 256;
  std::uint64_t file_size = 1ULL << 30;  ///< bytes, each file
};

/// Where a build runs. All below one folder that belongs to the build's user.
struct BuildFolders {
  std::filesystem::path source;  ///< the unpacked source, working directory of the command
  std::filesystem::path home;
  std::filesystem::path temporary;
};

/// `/bin/sh -c command`: the command as one argument, never pieced together from input.
[[nodiscard]] std::vector<std::string> build_argv(const std::string& command);

/// The whole environment of a build. `prefix`: MVM's tree in the node (pkg-config finds libmvm there).
[[nodiscard]] std::vector<std::pair<std::string, std::string>> build_environment(
    const BuildFolders& folders, const std::filesystem::path& prefix,
    const std::map<std::string, std::string>& parameters);

}  // namespace mvm::build
