#pragma once
// Archives of sources and results: made so that equal trees give equal bytes, and unpacked as what they are,
// input from a stranger.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "mvm/base/blob_store.h"
#include "mvm/base/result.h"

namespace mvm::build {

/// Bounds of a tree, packed or unpacked.
struct ArchiveLimits {
  std::uint64_t bytes = 4ULL << 30;  ///< of all files together, unpacked
  std::uint64_t entries = 200'000;
  std::uint64_t ratio = 1000;  ///< unpacked to packed bytes, above the first 64 MiB
  std::size_t name = 1024;     ///< bytes of a path
  std::size_t depth = 64;      ///< folders in a path
};

/// What an archive held.
struct ArchiveContent {
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
};

/// Whom the unpacked files belong to.
struct FileOwner {
  unsigned user = 0;
  unsigned group = 0;
};

/// Unpacks tar (plain, gzip, bzip2, xz, zstd) or zip from `archive`, read from its start, into `target`,
/// which must not exist (its folder must); on failure nothing is left. Regular files, folders, symbolic and
/// hard links only; links must stay inside; no set-user-id. kCorrupt for what is no archive or is hostile,
/// with the entry's name; kExhausted beyond a limit; kExists. Blocks.
[[nodiscard]] Result<ArchiveContent> unpack(int archive, const std::filesystem::path& target,
                                            const ArchiveLimits& limits = {},
                                            std::optional<FileOwner> owner = std::nullopt);

/// Takes the archive's bytes, piece by piece.
using ArchiveSink = std::function<Status(std::string_view)>;

/// Packs a folder's content as tar.zst: sorted, times, owners and odd permission bits removed, so that equal
/// trees give equal bytes. Symbolic links are packed as links; sockets, pipes and devices are left out.
/// kInvalid for a link that leads out of the folder where `refuse_links_out`, else it is left out. Nothing
/// outside is read, even if the folder changes meanwhile.
[[nodiscard]] Result<ArchiveContent> pack_directory(const std::filesystem::path& folder,
                                                    const ArchiveSink& sink, const ArchiveLimits& limits = {},
                                                    bool refuse_links_out = true);
/// The same into a store; answers the digest.
[[nodiscard]] Result<std::string> pack_directory(const std::filesystem::path& folder, const BlobStore& store,
                                                 const ArchiveLimits& limits = {},
                                                 bool refuse_links_out = true);

/// An archive of one file, for sources that stand in the profile itself.
[[nodiscard]] Result<std::string> pack_text(const std::string& name, std::string_view text);

}  // namespace mvm::build
