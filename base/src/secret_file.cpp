#include "mvm/base/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"

namespace mvm {

namespace {
constexpr std::size_t kLongestSecret = 4096;
}

/// Opened, then looked at: the file that is read is the file that was checked.
Result<std::string> read_private_file(const std::filesystem::path& file, std::size_t limit) {
  const UniqueFd fd(
      ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));  // NOLINT(cppcoreguidelines-pro-type-vararg)
  if (!fd) return Error::from_errno(errno, "open " + file.string());
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Error::from_errno(errno, "stat " + file.string());
  if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return Error(ErrorCode::kRefused,
                 file.string() + ": found a file that others may read, or of another owner; chmod 600 it");
  return read_all(fd.get(), limit);
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
