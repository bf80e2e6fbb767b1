#include "mvm/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "mvm/base/digest.h"

namespace mvm {
namespace {

Error failed(std::string_view verb, const std::filesystem::path& path) {
  return Error::from_errno(errno, std::string(verb) + " " + path.string());
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// Removes what a folder holds. A hostile tree may be far deeper than a path or our descriptors reach: what
/// lies too deep is moved up to the folder itself, and its turn comes in the next round.
class Emptier {
 public:
  Emptier(int top, dev_t device) : top_(top), device_(device) {}

  Status run(const std::filesystem::path& path) {
    do {
      moved_ = false;
      UniqueFd again(::openat(top_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!again) return failed("open", path);
      MVM_TRY(empty(std::move(again), path, 0));
    } while (moved_);
    return ok();
  }

 private:
  static constexpr int kDeepest = 64;

  Status empty(UniqueFd fd, const std::filesystem::path& path, int depth) {
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return failed("stat", path);
    if (info.st_dev != device_)
      return Error(ErrorCode::kConflict, "remove " + path.string() + ": a file system is mounted there");
    const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(fd.get()));
    if (!dir) return failed("open", path);
    const int folder = fd.release();  // owned by dir now
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) continue;
      if (errno != EISDIR && errno != EPERM) return failed("remove", path / name);
      MVM_TRY(remove_folder(folder, name, path / name, depth));
    }
    return ok();
  }

  Status remove_folder(int parent, const std::string& name, const std::filesystem::path& path, int depth) {
    if (depth >= kDeepest) {
      const std::string up = ".deep-" + random_hex(8);
      if (::renameat(parent, name.c_str(), top_, up.c_str()) != 0) return failed("move up", path);
      moved_ = true;
      return ok();
    }
    UniqueFd child(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child && errno == EACCES &&
        ::fchmodat(parent, name.c_str(), 0700, 0) == 0)  // ours, and closed to us
      child.reset(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child) return failed("open", path);
    MVM_TRY(empty(std::move(child), path, depth + 1));
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return failed("remove", path);
    return ok();
  }

  int top_;
  dev_t device_;
  bool moved_ = false;
};

}  // namespace

Result<std::string> read_all(int fd, std::size_t limit) {
  std::string content;
  std::array<char, 65536> piece;
  for (;;) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read");
    if (got == 0) return content;
    if (content.size() + static_cast<std::size_t>(got) > limit)
      return Error(ErrorCode::kExhausted, "more than " + std::to_string(limit) + " bytes");
    content.append(piece.data(), static_cast<std::size_t>(got));
  }
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return failed("open", path);
  auto content = read_all(fd.get(), limit);
  if (!content) return std::move(content).error().wrap("read " + path.string());
  return content;
}

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Error::from_errno(errno, "write");
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return ok();
}

Status write_file_durably(const std::filesystem::path& path, std::string_view content, unsigned mode) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const std::filesystem::path temporary = folder / ("." + path.filename().string() + "." + random_hex(6));
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return failed("create", temporary);
  Status written = write_all(fd.get(), content);
  if (written && ::fsync(fd.get()) != 0) written = failed("fsync", temporary);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0) written = failed("rename to", path);
  if (!written) {
    ::unlink(temporary.c_str());
    return std::move(written).error().wrap("write " + path.string());
  }
  UniqueFd folder_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_fd || ::fsync(folder_fd.get()) != 0) return failed("fsync", folder);
  return ok();
}

Status make_folders(const std::filesystem::path& path, unsigned mode) {
  std::filesystem::path so_far;
  for (const auto& part : path) {
    so_far /= part;
    if (::mkdir(so_far.c_str(), mode) == 0 || errno == EEXIST) continue;
    if (errno == EROFS || errno == EACCES) {
      if (std::error_code ignored; std::filesystem::is_directory(so_far, ignored)) continue;
    }
    return failed("make folder", so_far);
  }
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored))
    return Error(ErrorCode::kExists, path.string() + " exists and is not a folder");
  return ok();
}

Status remove_tree(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return ok();
  if (errno != EISDIR && errno != EPERM) return failed("remove", path);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return errno == ENOENT ? ok() : Status(failed("open", path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return failed("stat", path);
  MVM_TRY(Emptier(fd.get(), info.st_dev).run(path));
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return failed("remove", path);
  return ok();
}

Result<std::filesystem::path> make_temporary_folder(const std::filesystem::path& parent,
                                                    std::string_view prefix) {
  std::string pattern = (parent / (std::string(prefix) + "XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) return failed("make a temporary folder in", parent);
  return std::filesystem::path(pattern);
}

Result<UniqueFd> lock_file(const std::filesystem::path& path, std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds kPause{10};
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return failed("open", path);
  const auto end = std::chrono::steady_clock::now() + patience;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return failed("lock", path);
    if (std::chrono::steady_clock::now() >= end)
      return Error(ErrorCode::kExists, path.string() + " is held by another process");
    std::this_thread::sleep_for(kPause);
  }
  return lock;
}

}  // namespace mvm
