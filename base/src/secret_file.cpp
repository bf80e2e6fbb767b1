#include "mvm/base/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"

namespace mvm {

namespace {
constexpr std::size_t kLongestSecret = 4096;
}

/// Opened, then looked at: the file that is read is the file that was checked. Opening waits for nobody at
/// the other end of a pipe, unless a pipe is wanted.
Result<std::string> read_private_file(const std::filesystem::path& file, std::size_t limit,
                                      PrivateFile which) {
  const int kind = which.linked ? 0 : O_NOFOLLOW | O_NONBLOCK;
  const UniqueFd fd(
      ::open(file.c_str(), O_RDONLY | O_CLOEXEC | kind));  // NOLINT(cppcoreguidelines-pro-type-vararg)
  const auto refused = [&file](const std::string& why) {
    return Error(ErrorCode::kRefused, file.string() + ": " + why);
  };
  if (!fd && errno == ELOOP && !which.linked)
    return refused("found a symbolic link, expected the file itself");
  if (!fd) return Error::from_errno(errno, "open " + file.string());
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Error::from_errno(errno, "stat " + file.string());
  if (!S_ISREG(info.st_mode) && !which.linked) return refused("expected a regular file");
  if ((info.st_mode & 077) != 0)
    return refused("found a file that others than its owner can reach, expected mode 600: chmod 600 it");
  const uid_t us = ::geteuid();
  if (info.st_uid != us && !(which.lent && (info.st_uid == 0 || us == 0)))
    return refused("found a file of user " + std::to_string(info.st_uid) + ", expected one of user " +
                   std::to_string(us) + ": chown it");
  auto content = read_all(fd.get(), limit);
  if (!content) return std::move(content).error().wrap("read " + file.string());
  return content;
}

Result<std::string> read_secret_file(const std::filesystem::path& file, std::size_t shortest) {
  MVM_ASSIGN(std::string text, read_private_file(file, 2 * kLongestSecret));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.size() < shortest || text.size() > kLongestSecret)
    return Error(ErrorCode::kInvalid, file.string() + ": expected a secret of " + std::to_string(shortest) +
                                          " to " + std::to_string(kLongestSecret) + " bytes");
  return text;
}

}  // namespace mvm
