#pragma once
// Bytes behind a URL (file, http, https), within bounds of size, time and redirects.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::repository {

struct DownloadRules {
  std::vector<std::filesystem::path> folders;  ///< file URLs only below these
  std::filesystem::path authorities;           ///< of https (PEM); empty: those of the system
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds time{120'000};  ///< one download
  std::chrono::seconds stall{20};           ///< with less than 100 bytes a second
  unsigned redirects = 3;                   ///< to http or https; from https to https only
};

/// Takes the bytes, piece by piece; its error ends the download and is answered.
using DownloadSink = std::function<Status(std::string_view)>;

/// kInvalid: no URL of these kinds; kNotFound (also HTTP 404 and 410); kRefused: a file that is not below an
/// allowed folder, or is reached through a link; kExhausted: more than `limit` bytes; kTimeout; kUnavailable:
/// no connection, a broken one, TLS not verified, or another answer than 200. Blocks. No proxy is used.
[[nodiscard]] Status download(const std::string& url, const DownloadRules& rules, std::uint64_t limit,
                              const DownloadSink& sink);
/// The same into memory.
[[nodiscard]] Result<std::string> download(const std::string& url, const DownloadRules& rules,
                                           std::uint64_t limit);

/// "http://host/repo" or "/srv/repo" and "x86_64/a.so": the URL of that file.
[[nodiscard]] std::string url_below(const std::string& base, const std::string& file);

}  // namespace mvm::repository
