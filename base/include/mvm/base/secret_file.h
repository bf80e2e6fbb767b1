#pragma once
// Files that nobody but their owner may read.

#include <cstddef>
#include <filesystem>
#include <string>

#include "mvm/base/result.h"

namespace mvm {

/// Which files are taken besides a regular one of ours that is where its path says.
struct PrivateFile {
  bool lent = false;    ///< root's too, and anybody's where we are root
  bool linked = false;  ///< what a path leads to by symbolic links, be it a pipe
};

/// The bytes of a file that is closed to all but its owner. The file that is read is the one that was looked
/// at. kNotFound; kRefused where others than its owner may reach it, or it is another's, or not of the kind
/// that `which` takes; kExhausted where it holds more than `limit` bytes.
[[nodiscard]] Result<std::string> read_private_file(const std::filesystem::path& file, std::size_t limit,
                                                    PrivateFile which = {});

/// The content of such a file without the end of its last line. kInvalid where it is shorter than `shortest`,
/// or longer than 4096 bytes.
[[nodiscard]] Result<std::string> read_secret_file(const std::filesystem::path& file, std::size_t shortest);

}  // namespace mvm
