#include "spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "mvm/base/file.h"

namespace mvm::soap {
namespace {

constexpr std::size_t kPiece = 256 << 10;
constexpr std::uint64_t kKeepFree = 64 << 20;

}  // namespace

Result<Spool> Spool::open(const std::filesystem::path& folder, std::uint64_t limit) {
  UniqueFd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) {  // a file system without nameless files
    std::string name = (folder / ".spool-XXXXXX").string();
    fd.reset(::mkostemp(name.data(), O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "make a spool file in " + folder.string());
    ::unlink(name.c_str());
  }
  return Spool(std::move(fd), limit);
}

Status Spool::append(std::string_view bytes) {
  if (bytes.size() > limit_ || size() > limit_ - bytes.size())
    return Error(ErrorCode::kExhausted, "a blob may have at most " + std::to_string(limit_) + " bytes");
  pending_.append(bytes);
  return pending_.size() < kPiece ? ok() : flush();
}

Status Spool::flush() {
  struct statvfs info {};
  if (::fstatvfs(fd_.get(), &info) != 0) return Error::from_errno(errno, "statvfs");
  if (static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize < kKeepFree)
    return Error(ErrorCode::kExhausted, "the disk where attachments rest is full");
  MVM_TRY(write_all(fd_.get(), pending_));
  size_ += pending_.size();
  pending_.clear();
  return ok();
}

PieceReader Spool::reader() {
  auto offset = std::make_shared<std::uint64_t>(0);
  return [this, offset]() -> Result<std::string> {
    if (!pending_.empty()) MVM_TRY(flush());
    std::string piece(kPiece, '\0');
    ssize_t got = 0;
    do {
      got = ::pread(fd_.get(), piece.data(), piece.size(), static_cast<off_t>(*offset));
    } while (got < 0 && errno == EINTR);
    if (got < 0) return Error::from_errno(errno, "read an attachment");
    piece.resize(static_cast<std::size_t>(got));
    *offset += static_cast<std::uint64_t>(got);
    return piece;
  };
}

}  // namespace mvm::soap
