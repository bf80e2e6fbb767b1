#include "mvm/base/blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "mvm/base/assert.h"
#include "mvm/base/file.h"

namespace mvm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 16;
constexpr std::uint64_t kSpaceCheckEvery = 4 << 20;

Error failed(std::string_view verb, const fs::path& path) {
  return Error::from_errno(errno, std::string(verb) + " " + path.string());
}

Error no_digest(const std::string& text) {
  return Error(ErrorCode::kInvalid, "\"" + text.substr(0, 80) + "\" is not a SHA-256 digest");
}

fs::path blob_path(const fs::path& folder, const std::string& digest) {
  return folder / digest.substr(0, 2) / digest;
}

Status sync_folder(const fs::path& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return failed("fsync", folder);
  return ok();
}

/// A writer creates its file and locks it in two steps; younger files are therefore left alone.
constexpr std::time_t kLeftoverAge = 10;

/// Removes temporary files that no writer holds. Named ones (resumable uploads) stay.
void clear_leftovers(const fs::path& incoming) {
  std::error_code error;
  for (fs::directory_iterator entry(incoming, error), end; !error && entry != end; entry.increment(error)) {
    if (is_sha256(entry->path().filename().string())) continue;
    UniqueFd fd(::open(entry->path().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0 || info.st_mtime > ::time(nullptr) - kLeftoverAge) continue;
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(entry->path().c_str());
  }
}

Status check_space(int fd, std::uint64_t keep_free) {
  struct statvfs info {};
  if (::fstatvfs(fd, &info) != 0) return Error::from_errno(errno, "statvfs");
  if (static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize < keep_free)
    return Error(ErrorCode::kExhausted, "the disk of the blob store is full");
  return ok();
}

/// Feeds what a resumed file already has to the digest; answers its size.
Result<std::uint64_t> digest_existing(int fd, Sha256& digest) {
  std::array<char, kPiece> piece;
  std::uint64_t size = 0;
  for (;;) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read");
    if (got == 0) return size;
    digest.update({piece.data(), static_cast<std::size_t>(got)});
    size += static_cast<std::uint64_t>(got);
  }
}

}  // namespace

BlobWriter& BlobWriter::operator=(BlobWriter&& other) noexcept {
  if (this == &other) return *this;
  discard();
  folder_ = std::move(other.folder_);
  temporary_ = std::exchange(other.temporary_, fs::path());
  promised_ = std::move(other.promised_);
  fd_ = std::move(other.fd_);
  digest_ = std::move(other.digest_);
  size_ = other.size_;
  checked_ = other.checked_;
  limits_ = other.limits_;
  keep_ = other.keep_;
  return *this;
}

BlobWriter::~BlobWriter() { discard(); }

void BlobWriter::discard() {
  if (fd_ && !temporary_.empty() && !keep_) ::unlink(temporary_.c_str());
  temporary_.clear();
  fd_.reset();
}

Status BlobWriter::append(std::string_view bytes) {
  if (!fd_) return Error(ErrorCode::kConflict, "this blob is already finished");
  if (bytes.size() > limits_.blob || size_ > limits_.blob - bytes.size())
    return Error(ErrorCode::kExhausted, "a blob may have at most " + std::to_string(limits_.blob) + " bytes");
  if (size_ + bytes.size() - checked_ >= kSpaceCheckEvery) {
    MVM_TRY(check_space(fd_.get(), limits_.keep_free));
    checked_ = size_;
  }
  if (Status written = write_all(fd_.get(), bytes); !written) {
    const bool full = errno == ENOSPC || errno == EDQUOT;
    // Keep the file and the digest in step, so that a resumed upload is right.
    if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0)
      (void)::lseek(fd_.get(), static_cast<off_t>(size_), SEEK_SET);
    return full ? Error(ErrorCode::kExhausted, "the disk of the blob store is full") : written.error();
  }
  digest_.update(bytes);
  size_ += bytes.size();
  return ok();
}

Result<std::string> BlobWriter::commit() {
  if (!fd_) return Error(ErrorCode::kConflict, "this blob is already finished");
  keep_ = keep_ && promised_.empty();  // from here on a failure throws the bytes away
  const std::string digest = digest_.hex();
  if (!promised_.empty() && digest != promised_) {
    discard();
    return Error(ErrorCode::kCorrupt, "the bytes have digest " + digest + ", not the promised " + promised_);
  }
  const fs::path target = blob_path(folder_, digest);
  Status done = ok();
  if (::fsync(fd_.get()) != 0) done = failed("fsync", temporary_);
  if (done && ::mkdir(target.parent_path().c_str(), 0700) == 0) done = sync_folder(folder_);
  if (done && ::rename(temporary_.c_str(), target.c_str()) != 0) done = failed("rename to", target);
  if (done) {
    temporary_.clear();
    done = sync_folder(target.parent_path());
  }
  discard();
  if (!done) return std::move(done).error();
  return digest;
}

Result<BlobStore> BlobStore::open(fs::path folder, BlobLimits limits) {
  MVM_TRY(make_folders(folder / "incoming", 0700));
  clear_leftovers(folder / "incoming");
  return BlobStore(std::move(folder), limits);
}

fs::path BlobStore::path(const std::string& digest) const {
  MVM_ASSERT(is_sha256(digest));
  return blob_path(folder_, digest);
}

bool BlobStore::has(const std::string& digest) const {
  return is_sha256(digest) && ::access(path(digest).c_str(), F_OK) == 0;
}

Result<std::uint64_t> BlobStore::size(const std::string& digest) const {
  MVM_ASSIGN(const UniqueFd fd, read(digest));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return failed("stat", path(digest));
  return static_cast<std::uint64_t>(info.st_size);
}

Result<UniqueFd> BlobStore::read(const std::string& digest) const {
  if (!is_sha256(digest)) return no_digest(digest);
  UniqueFd fd(::open(path(digest).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (fd) return fd;
  if (errno == ENOENT) return Error(ErrorCode::kNotFound, "no blob " + digest);
  return failed("open", path(digest));
}

Result<std::string> BlobStore::read_whole(const std::string& digest, std::size_t limit) const {
  MVM_ASSIGN(const UniqueFd fd, read(digest));
  return read_all(fd.get(), limit);
}

Result<BlobWriter> BlobStore::write(const std::string& digest) const {
  if (!digest.empty() && !is_sha256(digest)) return no_digest(digest);
  BlobWriter writer;
  const fs::path temporary = folder_ / "incoming" / (random_hex(12) + ".tmp");
  writer.fd_.reset(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!writer.fd_) return failed("create", temporary);
  (void)::flock(writer.fd_.get(), LOCK_EX);  // tells open() that somebody writes it
  writer.folder_ = folder_;
  writer.temporary_ = temporary;
  writer.promised_ = digest;
  writer.limits_ = limits_;
  MVM_TRY(check_space(writer.fd_.get(), limits_.keep_free));
  return writer;
}

Result<BlobWriter> BlobStore::resume(const std::string& digest) const {
  if (!is_sha256(digest)) return no_digest(digest);
  BlobWriter writer;
  const fs::path temporary = folder_ / "incoming" / digest;
  writer.fd_.reset(::open(temporary.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!writer.fd_) return failed("create", temporary);
  struct stat opened {
  }, named{};
  // The name must still be that file's: the upload that held it may have ended between open and lock.
  if (::flock(writer.fd_.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(writer.fd_.get(), &opened) != 0 ||
      ::lstat(temporary.c_str(), &named) != 0 || opened.st_ino != named.st_ino)
    return Error(ErrorCode::kConflict, "another upload of " + digest + " is under way");
  writer.keep_ = true;
  writer.folder_ = folder_;
  writer.temporary_ = temporary;
  writer.promised_ = digest;
  writer.limits_ = limits_;
  MVM_TRY(check_space(writer.fd_.get(), limits_.keep_free));
  MVM_ASSIGN(writer.size_, digest_existing(writer.fd_.get(), writer.digest_));
  writer.checked_ = writer.size_;
  return writer;
}

Result<std::string> BlobStore::put(std::string_view bytes) const {
  MVM_ASSIGN(BlobWriter writer, write());
  MVM_TRY(writer.append(bytes));
  return writer.commit();
}

Result<std::string> BlobStore::put_file(const fs::path& file) const {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return failed("open", file);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return failed("stat", file);
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::kInvalid, file.string() + " is not a regular file");
  MVM_ASSIGN(BlobWriter writer, write());
  std::array<char, kPiece> piece;
  for (;;) {
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", file);
    if (got == 0) return writer.commit();
    MVM_TRY(writer.append({piece.data(), static_cast<std::size_t>(got)}));
  }
}

Result<std::vector<BlobInfo>> BlobStore::list() const {
  std::vector<BlobInfo> blobs;
  std::error_code error;
  for (fs::directory_iterator group(folder_, error), end; !error && group != end; group.increment(error)) {
    if (group->path().filename().string().size() != 2) continue;
    std::error_code inner;
    for (fs::directory_iterator blob(group->path(), inner), last; !inner && blob != last;
         blob.increment(inner)) {
      struct stat info {};
      const std::string name = blob->path().filename().string();
      if (!is_sha256(name) || ::lstat(blob->path().c_str(), &info) != 0) continue;
      blobs.push_back({name, static_cast<std::uint64_t>(info.st_size),
                       info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1'000'000});
    }
  }
  if (error) return Error(ErrorCode::kIo, "read " + folder_.string() + ": " + error.message());
  return blobs;
}

Status BlobStore::remove(const std::string& digest) const {
  if (!is_sha256(digest)) return no_digest(digest);
  if (::unlink(path(digest).c_str()) != 0 && errno != ENOENT) return failed("remove", path(digest));
  return ok();
}

}  // namespace mvm
