#pragma once
// Files that nobody but their owner may read.

#include <cstddef>
#include <filesystem>
#include <string>

#include "mvm/base/result.h"

namespace mvm {

/// The bytes of a file that is ours and closed to everybody else; no symbolic link. kRefused where others may
/// read it, or it is another's; kExhausted where it holds more than `limit` bytes.
[[nodiscard]] Result<std::string> read_private_file(const std::filesystem::path& file, std::size_t limit);

/// The content of such a file without the end of its last line. kInvalid where it is shorter than `shortest`,
/// or longer than 4096 bytes.
[[nodiscard]] Result<std::string> read_secret_file(const std::filesystem::path& file, std::size_t shortest);

}  // namespace mvm
