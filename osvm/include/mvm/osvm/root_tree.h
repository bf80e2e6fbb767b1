#pragma once
// The root folder of a node: a skeleton around the image's /usr, with an /etc of our own making.

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <tuple>

#include "mvm/base/result.h"
#include "mvm/osvm/vm_spec.h"

namespace mvm::osvm {

/// Makes `spec.folder` with run/ and work/ in it, and root_folder(spec).
///
/// root/ is built afresh (what an earlier guest left there is removed): bin, sbin and lib* as links into
/// usr/, empty folders to mount on, and /etc: passwd, group, hosts, hostname, nsswitch.conf, and from the
/// image only what names libraries and tools (ld.so.*, alternatives). Nothing else of the host's /etc gets
/// in. root/, run/ and work/ belong to host user and group `owner`; existing content of run/ and work/ stays.
/// The folders above root/, run/ and work/ can be entered by root and by group `group` only: a guest's root
/// may leave files in work/ that no other user of the host should reach (set-user-id programs). Call only
/// while no VM uses the folder.
[[nodiscard]] Status make_node_folder(const VmSpec& spec, unsigned owner, unsigned group);

/// A folder of links as Debian's /etc/alternatives, which cc, c++, awk and others go through: those of the
/// image that lead into its /usr, manual pages left out. Made once below `cache` and named by its content, so
/// that nodes share it; making some hundred links per node would take longer than starting it.
[[nodiscard]] Result<std::filesystem::path> alternatives_folder(const std::filesystem::path& image_root,
                                                                const std::filesystem::path& cache);

/// alternatives_folder() for many nodes: looked at again only when the image's folder has changed. Any
/// thread.
class Alternatives {
 public:
  explicit Alternatives(std::filesystem::path cache) : cache_(std::move(cache)) {}
  /// As alternatives_folder().
  [[nodiscard]] Result<std::filesystem::path> folder(const std::filesystem::path& image_root);

 private:
  const std::filesystem::path cache_;
  std::mutex mutex_;
  /// By image: when its folder changed last (seconds, nanoseconds), and what was made of it.
  std::map<std::filesystem::path, std::tuple<std::int64_t, std::int64_t, std::filesystem::path>> known_;
};

/// Makes `spec.folder` with run/ and work/ only, for a driver without a root of its own. A console's log of
/// an earlier VM is moved aside (console.log.1).
[[nodiscard]] Status make_shared_folders(const VmSpec& spec, unsigned owner);

/// Removes what make_node_folder() made except run/, work/ and the console's log, which belong to the lab.
/// `scratch`: the VM's, empty where it has none.
[[nodiscard]] Status remove_root(const std::filesystem::path& node_folder,
                                 const std::filesystem::path& scratch = {});

}  // namespace mvm::osvm
