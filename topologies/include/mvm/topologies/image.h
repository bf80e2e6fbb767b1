#pragma once
// An image of an OS-level VM, as its file describes it (docs/formats/image.md).

#include <string>
#include <string_view>
#include <vector>

namespace mvm::topologies {

enum class ImageKind {
  kHost,  ///< the host's own /usr, read-only: ready at once
  kTree,  ///< a root file system tree
  kDisk,  ///< a disk image or an initramfs, with a kernel
};
[[nodiscard]] std::string_view to_string(ImageKind kind);

/// A compiler that the image carries; binaries are shared among images only within one toolchain.
struct Toolchain {
  std::string compiler;  ///< "g++"
  std::string version;   ///< "12.2.0"; empty: whatever the host has
  bool operator==(const Toolchain&) const = default;
};

struct Image {
  std::string name;
  ImageKind kind = ImageKind::kHost;
  std::string architecture;          ///< "x86_64"; empty: the host's own
  std::vector<std::string> drivers;  ///< drivers that can boot it, e.g. "lxc", "qemu"
  std::string root;          ///< kTree: path of the tree or its archive; kDisk: of the disk; may be empty
  std::string kernel;        ///< kDisk: path, or "auto": made by the image tool
  std::string initramfs;     ///< kDisk: path, or "auto"; empty: none
  std::string command_line;  ///< kDisk: additional kernel arguments
  bool shared_usr = false;   ///< the host's /usr is mounted read-only (virtiofs) for the toolchain
  std::vector<Toolchain> toolchains;
  bool saveable = false;  ///< VMs of it can be saved, restored and migrated
  std::string digest;     ///< SHA-256 of its content; empty: not content-addressed (kHost, "auto")
  bool operator==(const Image&) const = default;
};

}  // namespace mvm::topologies
