#pragma once
// Work on a member's log while libraft does not run on it: looking at its end, its first configuration, and
// the one a recovery makes. Each call opens and closes libraft's own storage (raft_uv) on a loop of its own,
// and blocks for some milliseconds.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "mvm/base/result.h"
#include "wire.h"

namespace mvm::replica {

struct LogEnd {
  std::uint64_t term = 0;  ///< of the last entry; 0: the log is empty
  std::uint64_t index = 0;
  std::uint64_t current_term = 0;
  std::vector<wire::Server> servers;  ///< of the last configuration in it
};

[[nodiscard]] Result<LogEnd> inspect(const std::filesystem::path& log, std::uint64_t id);
/// Writes the first configuration into an empty log. On another it does nothing.
[[nodiscard]] Status write_first(const std::filesystem::path& log, std::uint64_t id,
                                 const std::vector<wire::Server>& servers);
/// Raises the term the member has seen, so that it takes no part in earlier ones.
[[nodiscard]] Status raise_term(const std::filesystem::path& log, std::uint64_t id, std::uint64_t term);
/// What raft_recover is for, at a term of its own: libraft 0.15 stamps that entry with term 1, whatever came
/// before it, and so breaks the order of terms that elections compare and log matching rests on (its folder
/// must then replace all others).
[[nodiscard]] Status append_configuration(const std::filesystem::path& log, std::uint64_t id,
                                          std::uint64_t term, const std::vector<wire::Server>& servers);

}  // namespace mvm::replica
