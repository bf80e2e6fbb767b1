#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mvm/base/unique_fd.h"
#include "mvm/osvm/hypervisor.h"

namespace mvm::osvm {

Result<ConsolePiece> read_console(const std::filesystem::path& log, std::uint64_t cursor, std::size_t limit) {
  ConsolePiece piece;
  piece.next = cursor;
  // Not blocking: a guest may have put a FIFO in the file's place.
  UniqueFd fd(::open(log.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT) return piece;
    if (errno == ELOOP) return Error(ErrorCode::kRefused, log.string() + " is a link, not a console's log");
    return Error::from_errno(errno, "open " + log.string());
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Error::from_errno(errno, "stat " + log.string());
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::kRefused, log.string() + " is not a regular file");
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (cursor >= size) return piece;
  piece.bytes.resize(std::min<std::uint64_t>(limit, size - cursor));
  ssize_t got = 0;
  do got = ::pread(fd.get(), piece.bytes.data(), piece.bytes.size(), static_cast<off_t>(cursor));
  while (got < 0 && errno == EINTR);
  if (got < 0) return Error::from_errno(errno, "read " + log.string());
  piece.bytes.resize(static_cast<std::size_t>(got));
  piece.next = cursor + piece.bytes.size();
  return piece;
}

}  // namespace mvm::osvm
