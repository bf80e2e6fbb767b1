#pragma once
// Paths inside an archive.

#include <optional>
#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/build/archive.h"

namespace mvm::build {

/// "./a//b/" as "a/b"; empty for the root itself. kCorrupt where it is absolute, has "..", a NUL or a control
/// character; kExhausted where it is too long or too deep.
[[nodiscard]] Result<std::string> clean_path(std::string_view path, const ArchiveLimits& limits);

/// True where a symbolic link at `path` (clean) to `target` stays inside the tree.
[[nodiscard]] bool link_stays_inside(std::string_view path, std::string_view target);

}  // namespace mvm::build
