#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "entry_path.h"
#include "handles.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/build/archive.h"

namespace mvm::build {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = 64 << 10;
constexpr std::uint64_t kRatioFrom = 64 << 20;

/// Opens below `root`, following no link at all: what an entry put there before cannot lead us astray.
UniqueFd open_below(int root, const std::string& path, int flags, mode_t mode = 0) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

class Unpacker {
 public:
  Unpacker(archive* handle, UniqueFd root, const ArchiveLimits& limits, std::optional<FileOwner> owner)
      : archive_(handle), root_(std::move(root)), limits_(limits), owner_(owner) {}

  Result<ArchiveContent> run() {
    if (owner_ && ::fchown(root_.get(), owner_->user, owner_->group) != 0)
      return Error::from_errno(errno, "chown");
    for (;;) {
      archive_entry* entry = nullptr;
      const int got = ::archive_read_next_header(archive_, &entry);
      if (got == ARCHIVE_EOF) break;
      if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return broken();
      if (Status taken = take(entry); !taken)
        return std::move(taken).error().wrap("entry " + std::to_string(content_.entries) + " of the archive");
    }
    // What is no archive at all reads as one without entries.
    if (content_.entries == 0 && ::archive_format(archive_) == ARCHIVE_FORMAT_EMPTY)
      return Error(ErrorCode::kCorrupt, "the archive is empty");
    return content_;
  }

 private:
  Error broken() const { return Error(ErrorCode::kCorrupt, "not a sound archive: " + reason(archive_)); }

  Status take(archive_entry* entry) {
    if (++content_.entries > limits_.entries)
      return Error(ErrorCode::kExhausted, "more than " + std::to_string(limits_.entries) + " entries");
    const char* name = ::archive_entry_pathname_utf8(entry);
    if (name == nullptr) name = ::archive_entry_pathname(entry);
    if (name == nullptr) return Error(ErrorCode::kCorrupt, "an entry without a usable name");
    MVM_ASSIGN(const std::string path, clean_path(name, limits_));
    const auto type = ::archive_entry_filetype(entry);
    if (path.empty())
      return type == AE_IFDIR ? ok() : Status(Error(ErrorCode::kCorrupt, "an entry without name"));
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
    const std::string last = slash == std::string::npos ? path : path.substr(slash + 1);
    if (type == AE_IFDIR) return make_folder(path);
    MVM_TRY(make_folder(folder));
    const UniqueFd parent = open_below(root_.get(), folder, O_PATH | O_DIRECTORY);
    if (!parent) return in_the_way(folder);
    // A later entry of the same name replaces the earlier one, as tar has it; never a folder.
    if (::unlinkat(parent.get(), last.c_str(), 0) != 0 && errno != ENOENT) return in_the_way(path);
    if (const char* target = ::archive_entry_hardlink(entry))
      return make_hard_link(path, parent.get(), last, target);
    if (type == AE_IFLNK) return make_link(path, parent.get(), last, ::archive_entry_symlink(entry));
    if (type == AE_IFREG) return make_file(entry, path, parent.get(), last);
    return Error(ErrorCode::kCorrupt, path + " is neither file, folder nor link");
  }

  Status in_the_way(const std::string& path) const {
    return Error(ErrorCode::kCorrupt, path + " lies behind a link, or a file and a folder share the name");
  }

  Status make_folder(const std::string& path) {
    if (path.empty()) return ok();
    if (UniqueFd known = open_below(root_.get(), path, O_PATH | O_DIRECTORY)) return ok();
    if (errno != ENOENT) return in_the_way(path);
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
    MVM_TRY(make_folder(folder));  // as deep as limits_.depth
    const UniqueFd parent = open_below(root_.get(), folder, O_PATH | O_DIRECTORY);
    const std::string last = slash == std::string::npos ? path : path.substr(slash + 1);
    if (!parent || ::mkdirat(parent.get(), last.c_str(), 0755) != 0)
      return Error::from_errno(errno, "make folder " + path);
    return give(parent.get(), last);
  }

  Status give(int parent, const std::string& name) const {
    if (owner_ && ::fchownat(parent, name.c_str(), owner_->user, owner_->group, AT_SYMLINK_NOFOLLOW) != 0)
      return Error::from_errno(errno, "chown " + name);
    return ok();
  }

  Status make_link(const std::string& path, int parent, const std::string& last, const char* target) const {
    if (target == nullptr || !link_stays_inside(path, target))
      return Error(ErrorCode::kCorrupt, "link " + path + " leads out of the archive");
    if (::symlinkat(target, parent, last.c_str()) != 0) return Error::from_errno(errno, "make link " + path);
    return give(parent, last);
  }

  Status make_hard_link(const std::string& path, int parent, const std::string& last,
                        const char* target) const {
    MVM_ASSIGN(const std::string other, clean_path(target, limits_));
    const UniqueFd file = open_below(root_.get(), other, O_PATH | O_NOFOLLOW);
    struct stat info {};
    if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
      return Error(ErrorCode::kCorrupt, "hard link " + path + " is to nothing in the archive");
    const std::string by_descriptor = "/proc/self/fd/" + std::to_string(file.get());
    if (::linkat(AT_FDCWD, by_descriptor.c_str(), parent, last.c_str(), AT_SYMLINK_FOLLOW) != 0)
      return Error::from_errno(errno, "make hard link " + path);
    return ok();
  }

  Status make_file(archive_entry* entry, const std::string& path, int parent, const std::string& last) {
    const mode_t mode = (::archive_entry_perm(entry) & 0755U) | 0600U;
    UniqueFd fd(::openat(parent, last.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return Error::from_errno(errno, "make file " + path);
    MVM_TRY(copy(fd.get(), path, ::archive_entry_size_is_set(entry) != 0 ? ::archive_entry_size(entry) : -1));
    if (owner_ && ::fchown(fd.get(), owner_->user, owner_->group) != 0)
      return Error::from_errno(errno, "chown " + path);
    if (::fchmod(fd.get(), mode) != 0) return Error::from_errno(errno, "chmod " + path);
    const timespec time{std::clamp<time_t>(::archive_entry_mtime(entry), 0, 1LL << 33), 0};
    const timespec times[2] = {time, time};
    (void)::futimens(fd.get(), times);
    return ok();
  }

  Status copy(int fd, const std::string& path, la_int64_t size) {
    if (size >= 0) MVM_TRY(account(path, static_cast<std::uint64_t>(size), /*add=*/false));
    std::uint64_t end = 0;
    for (;;) {
      const void* bytes = nullptr;
      std::size_t length = 0;
      la_int64_t offset = 0;
      const int got = ::archive_read_data_block(archive_, &bytes, &length, &offset);
      if (got == ARCHIVE_EOF) break;
      if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return broken();
      // Holes count as bytes: they are read as such later.
      const auto at = static_cast<std::uint64_t>(offset);
      if (offset < 0 || at < end || at + length < at)
        return Error(ErrorCode::kCorrupt, path + " has overlapping pieces");
      MVM_TRY(account(path, at + length - end, /*add=*/true));
      end = at + length;
      for (std::size_t done = 0; done < length;) {
        const ssize_t put = ::pwrite(fd, static_cast<const char*>(bytes) + done, length - done,
                                     static_cast<off_t>(at + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return Error::from_errno(errno, "write " + path);
        done += static_cast<std::size_t>(put);
      }
    }
    if (size > 0 && static_cast<std::uint64_t>(size) > end && ::ftruncate(fd, size) != 0)
      return Error::from_errno(errno, "write " + path);
    return ok();
  }

  Status account(const std::string& path, std::uint64_t more, bool add) {
    if (more > limits_.bytes || content_.bytes > limits_.bytes - more)
      return Error(ErrorCode::kExhausted,
                   "more than " + std::to_string(limits_.bytes) + " bytes, at " + path);
    if (!add) return ok();
    content_.bytes += more;
    const auto packed =
        static_cast<std::uint64_t>(std::max<la_int64_t>(1, ::archive_filter_bytes(archive_, -1)));
    if (content_.bytes > kRatioFrom && content_.bytes / packed > limits_.ratio)
      return Error(ErrorCode::kExhausted, "a bomb: " + std::to_string(content_.bytes) + " bytes out of " +
                                              std::to_string(packed) + ", at " + path);
    return ok();
  }

  archive* archive_;
  UniqueFd root_;
  const ArchiveLimits& limits_;
  std::optional<FileOwner> owner_;
  ArchiveContent content_;
};

Reader make_reader() {
  Reader reader(::archive_read_new());
  if (!reader) return reader;
  for (const auto support : {::archive_read_support_filter_gzip, ::archive_read_support_filter_bzip2,
                             ::archive_read_support_filter_xz, ::archive_read_support_filter_zstd,
                             ::archive_read_support_format_tar, ::archive_read_support_format_zip})
    (void)support(reader.get());
  return reader;
}

}  // namespace

Result<ArchiveContent> unpack(int archive, const fs::path& target, const ArchiveLimits& limits,
                              std::optional<FileOwner> owner) {
  struct stat info {};
  if (::lstat(target.c_str(), &info) == 0)
    return Error(ErrorCode::kExists, target.string() + " exists already");
  const Reader reader = make_reader();
  if (!reader || ::archive_read_open_fd(reader.get(), archive, kBlock) != ARCHIVE_OK)
    return Error(ErrorCode::kCorrupt, "not an archive: " + (reader ? reason(reader.get()) : "no memory"));
  const fs::path temporary = target.parent_path() / (".unpack-" + random_hex(8));
  if (::mkdir(temporary.c_str(), 0755) != 0)
    return Error::from_errno(errno, "make folder " + temporary.string());
  UniqueFd root(::open(temporary.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  Result<ArchiveContent> content = Error(ErrorCode::kIo, "open " + temporary.string());
  if (root) content = Unpacker(reader.get(), std::move(root), limits, owner).run();
  if (content && ::rename(temporary.c_str(), target.c_str()) != 0)
    content = Error::from_errno(errno, "rename to " + target.string());
  if (!content) (void)remove_tree(temporary);
  return content;
}

}  // namespace mvm::build
