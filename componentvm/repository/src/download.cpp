#include "mvm/repository/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "mvm/base/unique_fd.h"

namespace mvm::repository {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestUrl = 2000;
constexpr std::string_view kFile = "file://";
constexpr std::size_t kPiece = 1 << 16;

struct CurlFree {
  void operator()(CURL* owned) const { curl_easy_cleanup(owned); }
};
using Curl = std::unique_ptr<CURL, CurlFree>;

// ---- files ------------------------------------------------------------------------------------------------

/// The path of a file URL, its %XX decoded; empty where it is none.
std::string path_of(std::string_view url) {
  url.remove_prefix(kFile.size());
  std::string path;
  for (std::size_t i = 0; i < url.size(); ++i) {
    if (url[i] != '%') {
      path += url[i];
      continue;
    }
    int value = 0;
    for (int digit = 0; digit < 2; ++digit) {
      const char c = ++i < url.size() ? url[i] : '\0';
      const int number = c >= '0' && c <= '9'   ? c - '0'
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10
                         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                : -1;
      if (number < 0) return {};
      value = value * 16 + number;
    }
    if (value == 0) return {};
    path += static_cast<char>(value);
  }
  return path.starts_with('/') ? path : "";
}

/// Opens a regular file below one of the folders; nothing on the way from there may be a link.
Result<UniqueFd> open_below(const std::vector<fs::path>& folders, const std::string& path) {
  for (const fs::path& folder : folders) {
    const std::string prefix = (folder.lexically_normal() / "").native();
    if (!path.starts_with(prefix)) continue;
    const UniqueFd base(::open(prefix.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!base) return Error::from_errno(errno, "open " + prefix);
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    UniqueFd fd(
        static_cast<int>(::syscall(SYS_openat2, base.get(), path.c_str() + prefix.size(), &how, sizeof how)));
    struct stat info {};
    if (!fd && (errno == ENOENT || errno == ENOTDIR))
      return Error(ErrorCode::kNotFound, "there is no file " + path);
    if (!fd && (errno == ELOOP || errno == EXDEV))
      return Error(ErrorCode::kRefused,
                   "file " + path + " leads out of " + folder.string() + " or is a link");
    if (!fd) return Error::from_errno(errno, "open " + path);
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
      return Error(ErrorCode::kRefused, path + " is not a regular file");
    return fd;
  }
  return Error(ErrorCode::kRefused,
               "file " + path + " is not below a folder from which this kernel may load");
}

Status read_file_url(const std::string& url, const DownloadRules& rules, std::uint64_t limit,
                     const DownloadSink& sink) {
  const std::string path = path_of(url);
  if (path.empty()) return Error(ErrorCode::kInvalid, "expected file:///PATH");
  MVM_ASSIGN(const UniqueFd fd, open_below(rules.folders, path));
  std::array<char, kPiece> piece;
  for (std::uint64_t done = 0;;) {
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read " + path);
    if (got == 0) return ok();
    done += static_cast<std::uint64_t>(got);
    if (done > limit)
      return Error(ErrorCode::kExhausted, "it is larger than " + std::to_string(limit) + " bytes");
    MVM_TRY(sink({piece.data(), static_cast<std::size_t>(got)}));
  }
}

// ---- http -------------------------------------------------------------------------------------------------

struct Transfer {
  const DownloadSink& sink;
  std::uint64_t limit;
  std::uint64_t done = 0;
  Status failed = ok();
};

extern "C" std::size_t mvm_repository_take(char* bytes, std::size_t, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.done += count;
  transfer.failed =
      transfer.done > transfer.limit
          ? Error(ErrorCode::kExhausted, "it is larger than " + std::to_string(transfer.limit) + " bytes")
          : transfer.sink({bytes, count});
  return transfer.failed ? count : CURL_WRITEFUNC_ERROR;
}

Error error_from(CURLcode code, CURL* curl, const Transfer& transfer, const char* said) {
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  const std::string why = *said != '\0' ? said : curl_easy_strerror(code);
  switch (code) {
    case CURLE_FILESIZE_EXCEEDED:
      return {ErrorCode::kExhausted, "it is larger than " + std::to_string(transfer.limit) + " bytes"};
    case CURLE_OPERATION_TIMEDOUT:
      return {ErrorCode::kTimeout, "it takes too long: " + why};
    case CURLE_HTTP_RETURNED_ERROR:
      return {status == 404 || status == 410 ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
              "the server answered " + std::to_string(status)};
    case CURLE_TOO_MANY_REDIRECTS:
      return {ErrorCode::kUnavailable, "it is redirected too often"};
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return {ErrorCode::kInvalid,
              "expected a URL of file, http or https (and no redirect to another): " + why};
    default:
      return {ErrorCode::kUnavailable, why};
  }
}

Status get_http(const std::string& url, const DownloadRules& rules, std::uint64_t limit,
                const DownloadSink& sink) {
  const Curl curl(curl_easy_init());
  if (!curl) return Error(ErrorCode::kExhausted, "no memory for a download");
  Transfer transfer{sink, limit};
  std::array<char, CURL_ERROR_SIZE> said{};
  const char* redirected = url.starts_with("https:") ? "https" : "http,https";
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, redirected);
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(c, CURLOPT_MAXREDIRS, static_cast<long>(rules.redirects));
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(c, CURLOPT_PROXY, "");
  curl_easy_setopt(c, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(rules.connect.count()));
  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(rules.time.count()));
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 100L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, static_cast<long>(rules.stall.count()));
  curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(limit));
  curl_easy_setopt(c, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(c, CURLOPT_USERAGENT, "mvm");
  if (!rules.authorities.empty()) {
    curl_easy_setopt(c, CURLOPT_CAINFO, rules.authorities.c_str());
    curl_easy_setopt(c, CURLOPT_CAPATH, nullptr);
  }
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, said.data());
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, &mvm_repository_take);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &transfer);
  const CURLcode code = curl_easy_perform(c);
  if (!transfer.failed) return transfer.failed;
  if (code != CURLE_OK) return error_from(code, c, transfer, said.data());
  long status = 0;
  curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200)
    return Error(ErrorCode::kUnavailable, "the server answered " + std::to_string(status) + ", expected 200");
  return ok();
}

}  // namespace

Status download(const std::string& url, const DownloadRules& rules, std::uint64_t limit,
                const DownloadSink& sink) {
  const bool printable = std::all_of(url.begin(), url.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || url.size() > kLongestUrl)
    return Error(ErrorCode::kInvalid, "\"" + url.substr(0, 80) + "\" is no URL");
  Status done = url.starts_with(kFile) ? read_file_url(url, rules, limit, sink)
                : url.starts_with("http://") || url.starts_with("https://")
                    ? get_http(url, rules, limit, sink)
                    : Error(ErrorCode::kInvalid, "expected a URL of file, http or https");
  if (!done) return Error(done.error().code(), url + ": " + done.error().describe());
  return ok();
}

Result<std::string> download(const std::string& url, const DownloadRules& rules, std::uint64_t limit) {
  std::string bytes;
  MVM_TRY(download(url, rules, limit, [&](std::string_view piece) {
    bytes += piece;
    return ok();
  }));
  return bytes;
}

std::string url_below(const std::string& base, const std::string& file) {
  std::string url = base.starts_with('/') ? std::string(kFile) : "";
  url += base;
  if (!url.ends_with('/')) url += '/';
  return url + file;
}

}  // namespace mvm::repository
