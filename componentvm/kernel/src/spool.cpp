#include "spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"

namespace mvm::kernel {
namespace {

std::filesystem::path segment_path(const std::filesystem::path& folder, const std::string& stream,
                                   std::uint64_t number) {
  return folder / (stream + "." + std::to_string(number));
}

}  // namespace

std::filesystem::path spool_folder(const std::filesystem::path& run, const std::string& process) {
  return run / "spool" / sha256_hex(process).substr(0, 24);
}

std::filesystem::path Spool::segment(std::uint64_t number) const {
  return segment_path(folder_, stream_, number);
}

Status Spool::append(std::string_view bytes) {
  const std::uint64_t before = size_;
  while (!bytes.empty()) {
    const std::uint64_t within = size_ % kSegment;
    if (within == 0 || !fd_) {
      fd_.reset(::open(segment(size_ / kSegment).c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
      if (!fd_) break;
    }
    const std::size_t room =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), kSegment - within));
    const ssize_t put = ::pwrite(fd_.get(), bytes.data(), room, static_cast<off_t>(within));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) break;
    size_ += static_cast<std::uint64_t>(put);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  if (bytes.empty()) return ok();
  const int problem = errno;
  size_ = before;  // what was written is written again, at the same place
  fd_.reset();
  return Error::from_errno(problem, "write " + segment(size_ / kSegment).string());
}

void Spool::acknowledge(std::uint64_t offset) {
  acknowledged_ = std::clamp(offset, acknowledged_, size_);
  for (; removed_ < acknowledged_ / kSegment; ++removed_) ::unlink(segment(removed_).c_str());
}

std::optional<std::string> read_spool(const std::filesystem::path& folder, const std::string& stream,
                                      std::uint64_t offset, std::size_t length) {
  std::string bytes;
  while (bytes.size() < length) {
    const std::uint64_t at = offset + bytes.size();
    UniqueFd fd(
        ::open(segment_path(folder, stream, at / kSegment).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return std::nullopt;
    std::string piece(
        static_cast<std::size_t>(std::min<std::uint64_t>(length - bytes.size(), kSegment - at % kSegment)),
        '\0');
    ssize_t got = 0;
    do got = ::pread(fd.get(), piece.data(), piece.size(), static_cast<off_t>(at % kSegment));
    while (got < 0 && errno == EINTR);
    if (got <= 0) return std::nullopt;
    bytes.append(piece, 0, static_cast<std::size_t>(got));
  }
  return bytes;
}

}  // namespace mvm::kernel
