#pragma once
// The part of a QEMU guest's initramfs that differs from VM to VM (docs/formats/images.md).

#include <filesystem>

#include "mvm/base/result.h"
#include "mvm/osvm/vm_spec.h"

namespace mvm::osvm::libvirt {

/// Writes `image`'s bytes followed by an archive of the node's root skeleton and its settings to `target`.
/// The node's folder must be made; `alternatives` becomes /etc/alternatives.
[[nodiscard]] Status write_initramfs(const VmSpec& spec, const std::filesystem::path& image,
                                     const std::filesystem::path& alternatives,
                                     const std::filesystem::path& target);

}  // namespace mvm::osvm::libvirt
