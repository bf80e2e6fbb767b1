#include "folders.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/build/archive.h"

namespace mvm::plugins::job {
namespace {

namespace fs = std::filesystem;

UniqueFd open_below(int root, const std::string& path, unsigned flags, unsigned mode = 0) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

Status copy(int from, int to) {
  std::array<char, 65536> piece;
  for (;;) {
    const ssize_t got = ::read(from, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read a blob");
    if (got == 0) return ok();
    MVM_TRY(write_all(to, {piece.data(), static_cast<std::size_t>(got)}));
  }
}

bool valid_name(const std::string& name) {
  if (name.empty() || name.size() > 1024 || name.front() == '/') return false;
  for (const fs::path& part : fs::path(name))
    if (part == ".." || part == "." || part.empty() || part.string().size() > 255) return false;
  return true;
}

}  // namespace

std::string as_component(const std::string& name) {
  std::string component;
  for (const char c : name) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    component += plain ? c : '_';
  }
  component.resize(std::min<std::size_t>(component.size(), 100));
  if (component == name && !component.starts_with('.')) return component;
  return "_" + component + "-" + sha256_hex(name).substr(0, 12);
}

Status Folders::prepare() const {
  MVM_TRY(make_folders(config_.work / "attempts", 0711));
  return ok();
}

fs::path Folders::attempt(const std::string& attempt) const {
  return config_.work / "attempts" / as_component(attempt);
}

fs::path Folders::process(const std::string& attempt, const std::string& process) const {
  return this->attempt(attempt) / as_component(process);
}

Status Folders::make(const std::string& attempt, const std::string& process, const std::string& tree,
                     const std::vector<StagedFile>& staged) const {
  const fs::path folder = this->process(attempt, process);
  MVM_TRY(make_folders(this->attempt(attempt), 0711));
  MVM_TRY(remove_tree(folder));
  // Under a name that no running process can guess, until it is complete.
  const fs::path fresh = this->attempt(attempt) / (".new-" + random_hex(12));
  Status done = fill(fresh, tree, staged);
  if (done && ::rename(fresh.c_str(), folder.c_str()) != 0)
    done = Error::from_errno(errno, "make " + folder.string());
  if (!done) (void)remove_tree(fresh);
  return done;
}

Status Folders::fill(const fs::path& folder, const std::string& tree,
                     const std::vector<StagedFile>& staged) const {
  std::optional<build::FileOwner> owner;
  if (config_.drops_privileges) owner = build::FileOwner{config_.user, config_.group};
  if (tree.empty()) {
    if (::mkdir(folder.c_str(), 0700) != 0) return Error::from_errno(errno, "make " + folder.string());
  } else {
    MVM_ASSIGN(const UniqueFd archive, blobs_.read(tree));
    auto content = build::unpack(archive.get(), folder, {}, owner);
    if (!content) return std::move(content).error().wrap("unpack " + tree);
  }
  const UniqueFd root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root || (owner && ::fchown(root.get(), owner->user, owner->group) != 0) ||
      ::fchmod(root.get(), 0700) != 0)
    return Error::from_errno(errno, "prepare " + folder.string());
  for (const StagedFile& file : staged) MVM_TRY(place(root.get(), file));
  return ok();
}

Status Folders::place(int folder, const StagedFile& file) const {
  if (!valid_name(file.name))
    return Error(ErrorCode::kInvalid,
                 "staged file: \"" + file.name.substr(0, 200) + "\" is not a plain relative path");
  const bool give = config_.drops_privileges;
  const fs::path path(file.name);
  std::string so_far;
  for (const fs::path& part : path.parent_path()) {
    const UniqueFd parent = open_below(folder, so_far.empty() ? "." : so_far, O_PATH | O_DIRECTORY);
    if (!parent) return Error::from_errno(errno, "stage " + file.name);
    const bool made = ::mkdirat(parent.get(), part.c_str(), 0755) == 0;
    if (!made && errno != EEXIST) return Error::from_errno(errno, "stage " + file.name);
    if (made && give &&
        ::fchownat(parent.get(), part.c_str(), config_.user, config_.group, AT_SYMLINK_NOFOLLOW) != 0)
      return Error::from_errno(errno, "stage " + file.name);
    so_far = (fs::path(so_far) / part).string();
  }
  MVM_ASSIGN(const UniqueFd blob, blobs_.read(file.digest));
  const UniqueFd out = open_below(folder, file.name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (!out) return Error::from_errno(errno, "stage " + file.name);
  MVM_TRY(copy(blob.get(), out.get()));
  if (give && ::fchown(out.get(), config_.user, config_.group) != 0)
    return Error::from_errno(errno, "stage " + file.name);
  return ok();
}

Result<std::pair<std::string, std::uint64_t>> Folders::store(const fs::path& folder,
                                                             const std::string& name) const {
  if (!valid_name(name))
    return Error(ErrorCode::kInvalid, "\"" + name.substr(0, 200) + "\" is not a plain relative path");
  const UniqueFd root(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) return Error::from_errno(errno, "open " + folder.string());
  const UniqueFd fd = open_below(root.get(), name, O_RDONLY | O_NONBLOCK);
  if (!fd && errno == ENOENT) return Error(ErrorCode::kNotFound, "the process left no file " + name);
  if (!fd && (errno == ELOOP || errno == EXDEV))
    return Error(ErrorCode::kRefused, "file " + name + " lies behind a link");
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return Error::from_errno(errno, "open " + name);
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::kInvalid, name + " is not a regular file");
  MVM_ASSIGN(BlobWriter writer, blobs_.write());
  std::array<char, 65536> piece;
  for (;;) {
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read " + name);
    if (got == 0) break;
    MVM_TRY(writer.append({piece.data(), static_cast<std::size_t>(got)}));
  }
  const std::uint64_t size = writer.offset();
  MVM_ASSIGN(const std::string digest, writer.commit());
  return std::pair(digest, size);
}

Status Folders::remove(const std::string& attempt) const { return remove_tree(this->attempt(attempt)); }

}  // namespace mvm::plugins::job
