#include "mvm/osvm/root_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <string>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"

namespace mvm::osvm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfiguration = 4 << 20;
constexpr std::size_t kMaxEntries = 2000;

Error failed(std::string_view verb, const fs::path& path) {
  return Error::from_errno(errno, std::string(verb) + " " + path.string());
}

/// Builds one tree, everything owned by `owner`. The tree is new and no guest sees it yet.
class TreeMaker {
 public:
  TreeMaker(fs::path root, unsigned owner) : root_(std::move(root)), owner_(owner) {}

  Status folder(const fs::path& inside, unsigned mode = 0755) const {
    const fs::path path = root_ / inside;
    if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return failed("make folder", path);
    if (::chmod(path.c_str(), mode) != 0) return failed("change mode of", path);  // whatever the umask is
    return own(path);
  }

  Status file(const fs::path& inside, std::string_view content) const {
    const fs::path path = root_ / inside;
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) return failed("create", path);
    MVM_TRY(write_all(fd.get(), content));
    if (::fchmod(fd.get(), 0644) != 0) return failed("change mode of", path);
    return own(path);
  }

  Status link(const std::string& target, const fs::path& inside) const {
    const fs::path path = root_ / inside;
    if (::symlink(target.c_str(), path.c_str()) != 0) return failed("link", path);
    return own(path);
  }

 private:
  Status own(const fs::path& path) const {
    // Without root only one's own id can be given, and it is there already.
    if (::lchown(path.c_str(), owner_, owner_) != 0 && !(errno == EPERM && ::geteuid() != 0))
      return failed("give away", path);
    return ok();
  }

  fs::path root_;
  unsigned owner_;
};

std::string hosts_file(const VmSpec& spec) {
  std::string text = "127.0.0.1 localhost\n::1 localhost\n";
  const std::string own = spec.network ? spec.network->address : "127.0.1.1";
  text += own + " " + spec.labels.node + "\n";
  for (const auto& [name, address] : spec.hosts)
    if (name != spec.labels.node) text += address + " " + name + "\n";
  return text;
}

/// Copies a small configuration file of the image; it is no error if the image has none.
Status copy_file(const TreeMaker& tree, const fs::path& image, const fs::path& inside) {
  auto content = read_file(image / inside, kMaxConfiguration);
  if (!content) return ok();
  return tree.file(inside, *content);
}

/// The dynamic linker's configuration: without it libraries outside the default folders are not found.
Status copy_linker_configuration(const TreeMaker& tree, const fs::path& image) {
  MVM_TRY(copy_file(tree, image, "etc/ld.so.conf"));
  MVM_TRY(copy_file(tree, image, "etc/ld.so.cache"));
  MVM_TRY(tree.folder("etc/ld.so.conf.d"));
  std::error_code problem;
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(image / "etc/ld.so.conf.d", problem))
    if (entry.is_regular_file(problem) && ++count <= kMaxEntries)
      MVM_TRY(copy_file(tree, image, "etc/ld.so.conf.d" / entry.path().filename()));
  return ok();
}

Status make_etc(const TreeMaker& tree, const VmSpec& spec) {
  const std::string user = std::to_string(kJobUser);
  MVM_TRY(tree.folder("etc"));
  MVM_TRY(tree.file("etc/passwd",
                    "root:x:0:0:root:/root:/bin/sh\nmvm:x:" + user + ":" + user +
                        ":mvm:/work:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"));
  MVM_TRY(tree.file("etc/group", "root:x:0:\ntty:x:5:\nmvm:x:" + user + ":\nnogroup:x:65534:\n"));
  MVM_TRY(tree.file("etc/hosts", hosts_file(spec)));
  MVM_TRY(tree.file("etc/hostname", spec.labels.node + "\n"));
  MVM_TRY(tree.file(
      "etc/nsswitch.conf",
      "passwd: files\ngroup: files\nhosts: files\nnetworks: files\nprotocols: files\nservices: files\n"));
  MVM_TRY(tree.file("etc/resolv.conf", ""));
  MVM_TRY(tree.link("../proc/self/mounts", "etc/mtab"));
  MVM_TRY(tree.folder("etc/alternatives"));
  return copy_linker_configuration(tree, spec.image.root);
}

Status make_root(const VmSpec& spec, unsigned owner) {
  const fs::path root = root_folder(spec);
  MVM_TRY(remove_tree(root));
  const TreeMaker tree(root, owner);
  for (const char* folder : {"", "dev", "home", "mnt", "opt", "opt/mvm", "proc", "run", "run/mvm", "sys",
                             "usr", "var", "var/lib", "var/log", "work"})
    MVM_TRY(tree.folder(folder));
  MVM_TRY(tree.folder("root", 0700));
  MVM_TRY(tree.folder("tmp", 01777));
  MVM_TRY(tree.folder("var/tmp", 01777));
  MVM_TRY(tree.link("../run", "var/run"));
  for (const std::string folder : {"bin", "sbin", "lib", "lib32", "lib64", "libx32"})
    if (std::error_code none; fs::is_directory(spec.image.root / "usr" / folder, none))
      MVM_TRY(tree.link("usr/" + folder, folder));
  return make_etc(tree, spec);
}

/// Makes a folder that the guest will own; the folder itself is never a link, since only the host writes its
/// parent.
Status make_owned(const fs::path& path, unsigned owner) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return failed("make folder", path);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return failed("open", path);
  if (::fchmod(fd.get(), 0755) != 0) return failed("change mode of", path);
  if (::fchown(fd.get(), owner, owner) != 0 && !(errno == EPERM && ::geteuid() != 0))
    return failed("give away", path);
  return ok();
}

}  // namespace

Result<fs::path> alternatives_folder(const fs::path& image_root, const fs::path& cache) {
  std::map<std::string, std::string> links;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(image_root / "etc/alternatives", problem)) {
    const fs::path target = fs::read_symlink(entry.path(), problem);
    if (problem || links.size() >= kMaxEntries) continue;
    if (target.native().starts_with("/usr/") && !target.native().starts_with("/usr/share/man/"))
      links[entry.path().filename()] = target;
  }
  std::string content;
  for (const auto& [name, target] : links) content += name + '\0' + target + '\0';
  const fs::path folder = cache / ("alternatives-" + sha256_hex(content).substr(0, 16));
  if (fs::is_directory(folder, problem)) return folder;
  MVM_TRY(make_folders(cache, 0755));
  MVM_ASSIGN(const fs::path temporary, make_temporary_folder(cache, ".alternatives-"));
  const TreeMaker tree(temporary, ::geteuid());
  Status made = tree.folder("");
  for (const auto& [name, target] : links)
    if (made) made = tree.link(target, name);
  // Somebody else may have put the same folder there meanwhile: theirs is as good.
  if (made && ::rename(temporary.c_str(), folder.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY)
    made = failed("rename to", folder);
  MVM_TRY(remove_tree(temporary));
  if (!made) return std::move(made).error();
  return folder;
}

Status make_shared_folders(const VmSpec& spec, unsigned owner) {
  MVM_TRY(make_folders(spec.folder, 0711));
  MVM_TRY(make_owned(run_folder(spec.folder), owner));
  MVM_TRY(make_owned(work_folder(spec.folder), owner));
  // A VM's console starts at byte 0; the one of the VM before it is kept beside.
  for (const Driver driver : {Driver::kLxc, Driver::kQemu}) {
    const fs::path log = console_log(spec.folder, driver);
    MVM_TRY(remove_tree(log.native() + ".1"));
    if (::rename(log.c_str(), (log.native() + ".1").c_str()) != 0 && errno != ENOENT)
      return failed("rename", log);
  }
  return ok();
}

Status make_node_folder(const VmSpec& spec, unsigned owner, unsigned group) {
  if (std::error_code none; !fs::is_directory(spec.image.root / "usr", none))
    return Error(ErrorCode::kNotFound, "image " + spec.image.root.string() + " has no folder usr");
  MVM_TRY(make_shared_folders(spec, owner));
  if (!spec.scratch.empty()) MVM_TRY(make_folders(spec.scratch, 0711));
  for (const fs::path* folder : {&spec.folder, &spec.scratch})
    if (!folder->empty() && ::geteuid() == 0 &&
        (::chown(folder->c_str(), 0, group) != 0 || ::chmod(folder->c_str(), 0710) != 0))
      return failed("close", *folder);
  return make_root(spec, owner);
}

Status remove_root(const fs::path& node_folder, const fs::path& scratch) {
  for (const char* file : {"initramfs", "disk.qcow2"}) MVM_TRY(remove_tree(node_folder / file));
  return remove_tree((scratch.empty() ? node_folder : scratch) / "root");
}

Result<fs::path> Alternatives::folder(const fs::path& image_root) {
  struct stat now {};
  if (::stat((image_root / "etc/alternatives").c_str(), &now) != 0) now = {};
  const std::lock_guard lock(mutex_);
  auto& [changed_s, changed_ns, known] = known_[image_root];
  if (!known.empty() && changed_s == now.st_mtim.tv_sec && changed_ns == now.st_mtim.tv_nsec) return known;
  MVM_ASSIGN(known, alternatives_folder(image_root, cache_));
  changed_s = now.st_mtim.tv_sec;
  changed_ns = now.st_mtim.tv_nsec;
  return known;
}

}  // namespace mvm::osvm
