#include "initramfs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "domain_xml.h"
#include "mvm/base/file.h"

namespace mvm::osvm::libvirt {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxImage = 512u << 20;
constexpr std::size_t kMaxFile = 4u << 20;

/// An archive in the "newc" format that the kernel unpacks.
class Archive {
 public:
  void add(const std::string& name, unsigned mode, std::string_view content) {
    std::array<char, 111> head{};
    std::snprintf(head.data(), head.size(), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
                  ++inode_, mode, 0u, 0u, S_ISDIR(mode) ? 2u : 1u, 0u, static_cast<unsigned>(content.size()),
                  0u, 0u, 0u, 0u, static_cast<unsigned>(name.size() + 1), 0u);
    bytes_.append(head.data(), 110);
    bytes_.append(name.c_str(), name.size() + 1);
    pad();
    bytes_.append(content);
    pad();
  }
  std::string finish() {
    add("TRAILER!!!", 0, "");
    return std::move(bytes_);
  }

 private:
  void pad() { bytes_.append((4 - bytes_.size() % 4) % 4, '\0'); }
  std::string bytes_;
  unsigned inode_ = 0;
};

/// Adds a tree of ours, not yet seen by any guest; owners become root.
Status add_tree(Archive& archive, const fs::path& folder, const std::string& name) {
  struct stat info {};
  if (::lstat(folder.c_str(), &info) != 0) return Error::from_errno(errno, "stat " + folder.string());
  if (S_ISLNK(info.st_mode)) {
    std::error_code problem;
    archive.add(name, info.st_mode, fs::read_symlink(folder, problem).native());
    return problem ? Status(Error(ErrorCode::kIo, "read link " + folder.string())) : ok();
  }
  if (S_ISREG(info.st_mode)) {
    MVM_ASSIGN(const std::string content, read_file(folder, kMaxFile));
    archive.add(name, info.st_mode, content);
    return ok();
  }
  archive.add(name, info.st_mode, "");
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(folder, problem))
    MVM_TRY(add_tree(archive, entry.path(), name + "/" + entry.path().filename().native()));
  if (problem) return Error(ErrorCode::kIo, "list " + folder.string() + ": " + problem.message());
  return ok();
}

std::string lines(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += item + "\n";
  return text;
}

/// The root skeleton; of it, a disk that has a root of its own gets only what names the node.
Status add_root(Archive& archive, const VmSpec& spec, const fs::path& alternatives) {
  const fs::path root = root_folder(spec);
  if (spec.image.kind != ImageKind::kDisk) {
    MVM_TRY(add_tree(archive, root, "mvm/root"));
    return add_tree(archive, alternatives, "mvm/root/etc/alternatives");
  }
  archive.add("mvm/root", S_IFDIR | 0755, "");
  archive.add("mvm/root/etc", S_IFDIR | 0755, "");
  for (const std::string name : {"etc/hosts", "etc/hostname"})
    MVM_TRY(add_tree(archive, root / name, "mvm/root/" + name));
  return ok();
}

/// "TAG MODE FOLDER" per shared folder, in the order in which they are mounted.
Result<std::string> mounts(const VmSpec& spec) {
  std::string text;
  if (spec.image.kind != ImageKind::kDisk) text += "usr ro /usr\n";
  text += "tools ro /opt/mvm\nwork rw /work\n";
  for (std::size_t i = 0; i < spec.binds.size(); ++i)
    text += bind_tag(i) + (spec.binds[i].read_only ? " ro " : " rw ") + spec.binds[i].guest.native() + "\n";
  return text;
}

void add_settings(Archive& archive, const VmSpec& spec, const std::string& mount_lines) {
  const auto file = [&](const std::string& name, const std::string& content) {
    archive.add("mvm/" + name, S_IFREG | 0644, content);
  };
  file("node", spec.labels.node + "\n");
  file("argv", lines(spec.argv));
  std::vector<std::string> variables;
  for (const auto& [name, value] : spec.environment) variables.push_back(name + "=" + value);
  file("environment", lines(variables));
  file("mounts", mount_lines);
  file("limits", std::to_string(spec.limits.shm_bytes) + " " + std::to_string(spec.limits.tmp_bytes) + " " +
                     std::to_string(spec.limits.pids) + "\n");
  if (spec.network)
    file("network", spec.network->address + " " + std::to_string(spec.network->prefix) + " " +
                        (spec.network->gateway.empty() ? "-" : spec.network->gateway) + "\n");
  if (spec.image.kind == ImageKind::kDisk) file("disk", "");
}

}  // namespace

Status write_initramfs(const VmSpec& spec, const fs::path& image, const fs::path& alternatives,
                       const fs::path& target) {
  auto bytes = read_file(image, kMaxImage);
  if (!bytes)
    return std::move(bytes).error().wrap("the guest's initramfs (packaging/make-qemu-image makes it)");
  bytes->append((4 - bytes->size() % 4) % 4, '\0');  // the next archive starts on a multiple of four
  MVM_ASSIGN(const std::string mount_lines, mounts(spec));
  Archive archive;
  archive.add("mvm", S_IFDIR | 0755, "");
  MVM_TRY(add_root(archive, spec, alternatives));
  add_settings(archive, spec, mount_lines);
  bytes->append(archive.finish());
  MVM_TRY(remove_tree(target));
  return write_file_durably(target, *bytes);
}

}  // namespace mvm::osvm::libvirt
