#pragma once
// Files, whole: bounded reads, durable writes, trees removed without following links.

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm {

/// The file's bytes. kExhausted where it holds more than `limit` bytes.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit);

/// Replaces the file's content so that a crash leaves the old or the new one: temporary file in the same
/// folder, fsync, rename, fsync of the folder. `mode` is the new file's permissions.
[[nodiscard]] Status write_file_durably(const std::filesystem::path& path, std::string_view content,
                                        unsigned mode = 0644);

/// Makes the folder and its parents; it is no error if it exists. `mode` for those it makes.
[[nodiscard]] Status make_folders(const std::filesystem::path& path, unsigned mode = 0755);

/// Removes a file or a whole tree. Symbolic links are removed, never followed, and a mount point below is
/// not crossed (kConflict). It is no error if nothing is there.
[[nodiscard]] Status remove_tree(const std::filesystem::path& path);

/// write(2) until all is written; retries EINTR. The descriptor is blocking.
[[nodiscard]] Status write_all(int fd, std::string_view bytes);

/// Reads up to `limit` bytes until end of file.
[[nodiscard]] Result<std::string> read_all(int fd, std::size_t limit);

/// A fresh folder under `parent`, named `prefix` plus random letters, mode 0700.
[[nodiscard]] Result<std::filesystem::path> make_temporary_folder(const std::filesystem::path& parent,
                                                                  std::string_view prefix);

/// The file, made where it is not there (0600), locked for this process alone: until the descriptor, and each
/// copy that another process was given, is closed. Waits up to `patience` for a holder that is on its way
/// out; kExists where it stays.
[[nodiscard]] Result<UniqueFd> lock_file(const std::filesystem::path& path,
                                         std::chrono::milliseconds patience = {});

}  // namespace mvm
