#pragma once
// UNIX stream sockets by path.

#include <filesystem>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::host {

/// Listens at `path` (mode 0600), replacing what an earlier process left there. Long paths are reached
/// through a descriptor of their folder, so only the last component must fit sockaddr_un.
[[nodiscard]] Result<UniqueFd> listen_unix(const std::filesystem::path& path);

/// Connects; kUnavailable where nobody listens.
[[nodiscard]] Result<UniqueFd> connect_unix(const std::filesystem::path& path);

}  // namespace mvm::host
