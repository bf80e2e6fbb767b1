#include "mvm/repository/fetcher.h"

#include "mvm/base/digest.h"
#include "mvm/base/plugin_loader.h"

namespace mvm::repository {
namespace {

constexpr std::string_view kDigestPart = "sha256=";

/// A URL of a plug-in's file, in its parts.
struct PluginUrl {
  std::string url;     // without the fragment
  std::string plugin;  // the file's name
  std::string sha256;  // empty: not said
};

Result<PluginUrl> read_url(const std::string& locator) {
  PluginUrl read;
  const std::size_t hash = locator.find('#');
  read.url = locator.substr(0, hash);
  if (hash != std::string::npos) {
    const std::string part = locator.substr(hash + 1);
    if (part.starts_with(kDigestPart)) read.sha256 = part.substr(kDigestPart.size());
    if (!is_sha256(read.sha256))
      return Error(ErrorCode::kInvalid, "locator: found \"#" + part.substr(0, 80) +
                                            "\", expected #sha256= and 64 hexadecimal digits");
  }
  if (read.url.find("/../") != std::string::npos || read.url.find('?') != std::string::npos)
    return Error(ErrorCode::kInvalid, "locator: found \"" + read.url.substr(0, 200) +
                                          "\", expected a URL without \"..\" and without a query");
  read.plugin = read.url.substr(read.url.rfind('/') + 1);
  MVM_TRY(check_plugin_file(read.plugin));
  return read;
}

Status check_variant(const std::string& plugin, bool debug) {
  if (debug || !read_plugin_file(plugin)->debug) return ok();
  return Error(ErrorCode::kUnsupported, plugin + " is a debug variant, which only the debug kernel takes");
}

/// The local repositories are folders from which this kernel may load.
void allow_repositories(LocatorRules& rules) {
  for (const std::string& repository : rules.repositories) {
    if (repository.starts_with('/')) rules.download.folders.emplace_back(repository);
    if (repository.starts_with("file:///")) rules.download.folders.emplace_back(repository.substr(7));
  }
}

}  // namespace

Result<Fetcher> Fetcher::open(LocatorRules rules) {
  MVM_ASSIGN(Trust trust, Trust::make(rules.keys, rules.allow_unsigned));
  MVM_ASSIGN(PluginCache cache, PluginCache::open(rules.cache, rules.cache_bytes));
  allow_repositories(rules);
  return Fetcher(std::move(rules), std::move(trust), std::move(cache));
}

Result<Located> Fetcher::located(const std::string& key) const {
  MVM_TRY(cache_.check(key, trust_));
  MVM_ASSIGN(const Entry entry, cache_.entry(key));
  MVM_TRY(check_variant(entry.plugin, rules_.debug));
  const auto file = read_plugin_file(entry.plugin);
  return Located{std::string(file->base) + (file->version ? "@" + file->version->text() : ""), key};
}

Result<std::string> Fetcher::fetch_url(const std::string& url, const Entry& entry) const {
  MVM_TRY(trust_.check(entry));
  if (entry.architecture != rules_.architecture)
    return Error(ErrorCode::kUnsupported,
                 entry.plugin + " is for " + entry.architecture + ", expected " + rules_.architecture);
  MVM_TRY(check_variant(entry.plugin, rules_.debug));
  const std::string key = PluginCache::key_of(entry);
  if (cache_.check(key, trust_)) return key;
  return cache_.store(entry, [&](BlobWriter& writer) {
    return download(url, rules_.download, entry.size > 0 ? entry.size : kFileLimit,
                    [&](std::string_view piece) { return writer.append(piece); });
  });
}

Result<std::string> Fetcher::fetch(const std::string& base, const Entry& entry) const {
  return fetch_url(url_below(base, entry.file), entry);
}

Result<std::vector<Entry>> Fetcher::index(const std::string& base) const {
  MVM_ASSIGN(const std::string text, download(url_below(base, kIndexName), rules_.download, kIndexLimit));
  return read_index(text);
}

Result<Located> Fetcher::locate(const std::string& locator) const {
  if (locator.starts_with(kCacheScheme)) return located(locator.substr(kCacheScheme.size()));
  MVM_ASSIGN(const PluginUrl wanted, read_url(locator));
  Entry entry{.plugin = wanted.plugin,
              .architecture = rules_.architecture,
              .file = wanted.plugin,
              .sha256 = wanted.sha256};
  // The key says all that matters, so it can be looked for before anything is asked.
  if (!wanted.sha256.empty() && cache_.check(PluginCache::key_of(entry), trust_))
    return located(PluginCache::key_of(entry));
  auto text = download(wanted.url + kEntrySuffix, rules_.download, kEntryLimit);
  if (text) {
    MVM_ASSIGN(entry, read_entry(*text));
  } else if (text.error().code() != ErrorCode::kNotFound) {
    return text.error();
  } else if (wanted.sha256.empty() || !trust_.allows_unsigned()) {
    return std::move(text).error().wrap(
        wanted.plugin + " is not signed; expected its entry beside it" +
        (trust_.allows_unsigned() ? ", or #sha256=DIGEST behind the URL" : ""));
  }
  if (entry.plugin != wanted.plugin)
    return Error(ErrorCode::kCorrupt, "the entry beside " + wanted.url + " is that of " + entry.plugin);
  if (!wanted.sha256.empty() && entry.sha256 != wanted.sha256)
    return Error(ErrorCode::kCorrupt,
                 wanted.url + " has digest " + entry.sha256 + ", expected " + wanted.sha256);
  MVM_ASSIGN(const std::string key, fetch_url(wanted.url, entry));
  return located(key);
}

}  // namespace mvm::repository
