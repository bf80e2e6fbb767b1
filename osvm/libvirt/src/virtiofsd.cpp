#include "virtiofsd.h"

#include <string>
#include <string_view>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"

namespace mvm::osvm::libvirt {
namespace {

constexpr std::string_view kReadOnly = R"(#!/bin/sh
# Written by MVM: virtiofsd over a folder made read-only first.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ "$MVM_ALONE" = 1 ] || MVM_ALONE=1 exec unshare -m --propagation private "$0" "$@"
source=
for word; do
  case $word in source=*) source=${word#source=} ;; esac
done
[ -n "$source" ] || { echo "no source= among: $*" >&2; exit 1; }
mount --bind "$source" "$source" && mount -o remount,bind,ro,nosuid,nodev "$source" || exit 1
exec /usr/lib/qemu/virtiofsd -o modcaps=-mknod:-setfcap:-chown:-setuid:-setgid "$@"
)";

constexpr std::string_view kReadWrite = R"(#!/bin/sh
# Written by MVM: virtiofsd that makes no devices and no privileged files.
exec /usr/lib/qemu/virtiofsd -o modcaps=-mknod:-setfcap "$@"
)";

Result<std::filesystem::path> write_script(const std::filesystem::path& cache, const std::string& name,
                                           std::string_view text) {
  const std::filesystem::path file = cache / (name + "-" + sha256_hex(text).substr(0, 16));
  if (const auto there = read_file(file, 1 << 16); there && *there == text) return file;
  MVM_TRY(make_folders(cache, 0755));
  MVM_TRY(write_file_durably(file, text, 0755));
  return file;
}

}  // namespace

Result<VirtiofsDaemons> write_virtiofs_daemons(const std::filesystem::path& cache) {
  VirtiofsDaemons daemons;
  MVM_ASSIGN(daemons.read_only, write_script(cache, "virtiofsd-ro", kReadOnly));
  MVM_ASSIGN(daemons.read_write, write_script(cache, "virtiofsd-rw", kReadWrite));
  return daemons;
}

}  // namespace mvm::osvm::libvirt
