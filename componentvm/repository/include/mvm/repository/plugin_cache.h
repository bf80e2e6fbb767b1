#pragma once
// Plug-ins that came from elsewhere, on disk: a preset plug-in folder of their kernel's.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "mvm/base/blob_store.h"
#include "mvm/base/result.h"
#include "mvm/repository/entry.h"
#include "mvm/repository/trust.h"

namespace mvm::repository {

inline constexpr std::uint64_t kCacheLimit = 1ULL << 30;

/// What the cache holds: `<folder>/plugins/KEY/PLUGIN` and its entry beside it. KEY is the digest of the
/// entry's statement, so that the same bytes under another name are another plug-in. A plug-in is there whole
/// or not at all, whatever dies meanwhile. What was not used for longest goes where there is too much, but
/// for what is mapped or was used within the last minute. Thread-safe; several programs may share the folder.
class PluginCache {
 public:
  /// Makes the folder (mode 0700) where it is missing. `limit`: bytes of plug-ins, looked at when one is
  /// stored.
  [[nodiscard]] static Result<PluginCache> open(const std::filesystem::path& folder,
                                                std::uint64_t limit = kCacheLimit);

  /// The preset plug-in folder.
  [[nodiscard]] std::filesystem::path plugins() const { return folder_ / "plugins"; }

  /// What is cached is looked at again each time, for the disk and the trust may have changed: kNotFound,
  /// kCorrupt (and it is removed), kRefused as Trust::check().
  [[nodiscard]] Status check(const std::string& key, const Trust& trust) const;
  /// The entry of a cached plug-in; kNotFound.
  [[nodiscard]] Result<Entry> entry(const std::string& key) const;

  /// Fills a blob.
  using Fill = std::function<Status(BlobWriter&)>;
  /// Stores a plug-in whose entry is believed; answers its key. `fill` gives its bytes, which must be a
  /// shared object for the entry's architecture and have its digest and size (0: any). For a plug-in that was
  /// built here, `source` is the entry of its source, which is believed in its place.
  [[nodiscard]] Result<std::string> store(Entry entry, const Fill& fill,
                                          const std::optional<Entry>& source = std::nullopt) const;

  /// Which plug-in a build made, by its build key; kNotFound.
  [[nodiscard]] Result<std::string> built(const std::string& build) const;
  [[nodiscard]] Status note_built(const std::string& build, const std::string& key) const;

  [[nodiscard]] static std::string key_of(const Entry& entry);

 private:
  PluginCache(std::filesystem::path folder, std::uint64_t limit, BlobStore blobs)
      : folder_(std::move(folder)), limit_(limit), blobs_(std::move(blobs)) {}
  void trim() const;
  [[nodiscard]] bool evict(const std::filesystem::path& place) const;
  void forget_builds() const;
  std::filesystem::path folder_;
  std::uint64_t limit_;
  BlobStore blobs_;
};

}  // namespace mvm::repository
