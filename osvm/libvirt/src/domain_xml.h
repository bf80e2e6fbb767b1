#pragma once
// Domain and network descriptions for libvirt, written by TinyXML2 so that no value can break out of its
// place.

#include <filesystem>
#include <string>

#include "mvm/osvm/hypervisor.h"
#include "virtiofsd.h"

namespace mvm::osvm::libvirt {

/// Name space of our element in a domain's <metadata>.
inline constexpr const char* kMetadataUri = "urn:mvm:vm:1";

/// A container. `spec` is valid, its folder is made; `alternatives` is shown as /etc/alternatives.
[[nodiscard]] std::string lxc_domain(const VmSpec& spec, const std::filesystem::path& alternatives);

/// What the QEMU description needs beside the specification.
struct QemuSettings {
  bool kvm = false;
  std::filesystem::path kernel;
  std::filesystem::path initramfs;  ///< this VM's own: the image's plus its root skeleton
  std::filesystem::path disk;       ///< overlay for ImageKind::kDisk, else empty
  VirtiofsDaemons virtiofs;
};
[[nodiscard]] std::string qemu_domain(const VmSpec& spec, const QemuSettings& settings);

/// Name of the virtiofs tag of the n-th extra bind.
[[nodiscard]] std::string bind_tag(std::size_t index);

[[nodiscard]] std::string network(const NetworkSpec& spec);
/// Reads back what network() wrote, as libvirt prints it. kNotFound where it is not one of ours.
[[nodiscard]] Result<NetworkSpec> read_network(const std::string& xml);

/// Reads our metadata element: labels, folder, address and architecture. kCorrupt where it is not ours.
[[nodiscard]] Result<VmInfo> read_metadata(const std::string& xml);

}  // namespace mvm::osvm::libvirt
