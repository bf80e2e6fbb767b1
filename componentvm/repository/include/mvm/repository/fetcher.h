#pragma once
// From a locator to a plug-in in the cache. [Harness 000, §2.3: "the one actually accepted by the kernel, is
// a Uniform Resource Locator"]

#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/repository/download.h"
#include "mvm/repository/entry.h"
#include "mvm/repository/plugin_cache.h"
#include "mvm/repository/trust.h"

namespace mvm::repository {

/// How one kernel treats locators.
struct LocatorRules {
  DownloadRules download;
  std::vector<std::string> keys;  ///< trusted, as SigningKey::published
  bool allow_unsigned = false;
  std::vector<std::string> repositories;  ///< for names: folders or URLs, in order
  std::filesystem::path cache;
  std::uint64_t cache_bytes = kCacheLimit;
  std::string architecture;  ///< of the kernel
  bool debug = false;        ///< a debug kernel: takes .debug variants
};

/// Where a located plug-in lies.
struct Located {
  std::string wish;    ///< NAME or NAME@FIRST.AGE.REVISION
  std::string folder;  ///< below the cache's preset plug-in folder
};

/// A locator of something in the cache: "cache:KEY".
inline constexpr std::string_view kCacheScheme = "cache:";

/// Thread-safe. Everything blocks.
class Fetcher {
 public:
  /// kInvalid: a trusted key is none; or the cache cannot be made.
  [[nodiscard]] static Result<Fetcher> open(LocatorRules rules);

  /// URL[#sha256=DIGEST] or cache:KEY. Beside the file URL names, URL.json holds its entry; where there is
  /// none, the digest must be said, and the kernel must allow plug-ins that nobody signed. What is in the
  /// cache is not fetched again where its digest is said.
  [[nodiscard]] Result<Located> locate(const std::string& locator) const;
  /// An entry of the repository at `base`, for this architecture: its key in the cache.
  [[nodiscard]] Result<std::string> fetch(const std::string& base, const Entry& entry) const;
  /// The entries of a repository.
  [[nodiscard]] Result<std::vector<Entry>> index(const std::string& base) const;

  [[nodiscard]] const LocatorRules& rules() const { return rules_; }
  [[nodiscard]] const Trust& trust() const { return trust_; }
  [[nodiscard]] const PluginCache& cache() const { return cache_; }

 private:
  Fetcher(LocatorRules rules, Trust trust, PluginCache cache)
      : rules_(std::move(rules)), trust_(std::move(trust)), cache_(std::move(cache)) {}
  [[nodiscard]] Result<std::string> fetch_url(const std::string& url, const Entry& entry) const;
  [[nodiscard]] Result<Located> located(const std::string& key) const;
  LocatorRules rules_;
  Trust trust_;
  PluginCache cache_;
};

}  // namespace mvm::repository
