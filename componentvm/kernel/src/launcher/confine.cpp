#include "confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "mvm/base/file.h"

namespace mvm::kernel {
namespace {

struct ReleaseFilter {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};

constexpr int kDenied[] = {
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(syslog),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(nfsservctl),
    SCMP_SYS(vhangup),
    SCMP_SYS(ioperm),
    SCMP_SYS(iopl),
    SCMP_SYS(lookup_dcookie),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
};
constexpr int kDeniedToBuilds[] = {SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
                                   SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp)};

const char* limit(int what, rlim_t soft, rlim_t hard, const char* name) {
  rlimit now{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(what), &now) != 0) return name;
  const rlimit wanted{std::min(soft, now.rlim_max), std::min(hard, now.rlim_max)};
  return ::setrlimit(static_cast<__rlimit_resource_t>(what), &wanted) == 0 ? nullptr : name;
}

}  // namespace

Result<SyscallFilter> SyscallFilter::compile(bool for_builds) {
  const std::unique_ptr<void, ReleaseFilter> filter(::seccomp_init(SCMP_ACT_ALLOW));
  if (!filter) return Error(ErrorCode::kUnsupported, "seccomp: cannot make a filter");
  const auto deny = [&](int number) {
    // A call that this architecture does not have needs no rule.
    (void)::seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 0);
  };
  for (const int number : kDenied) deny(number);
  if (for_builds)
    for (const int number : kDeniedToBuilds) deny(number);
  // New user namespaces give capabilities over parts of the kernel that have often been broken. clone3 hides
  // its flags behind a pointer: it is said not to exist, and C libraries use clone then.
  const scmp_arg_cmp new_user{0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER};
  (void)::seccomp_rule_add_array(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, &new_user);
  (void)::seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  const UniqueFd memory(::memfd_create("mvm-seccomp", MFD_CLOEXEC));
  if (!memory || ::seccomp_export_bpf(filter.get(), memory.get()) != 0)
    return Error(ErrorCode::kUnsupported, "seccomp: cannot compile the filter");
  if (::lseek(memory.get(), 0, SEEK_SET) != 0) return Error::from_errno(errno, "seccomp");
  MVM_ASSIGN(const std::string bytes, read_all(memory.get(), 1 << 20));
  SyscallFilter result;
  const auto* first = reinterpret_cast<const sock_filter*>(bytes.data());
  result.program_.assign(first, first + bytes.size() / sizeof(sock_filter));
  return result;
}

bool SyscallFilter::apply() const {
  sock_fprog program{static_cast<unsigned short>(program_.size()), const_cast<sock_filter*>(program_.data())};
  return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

const char* set_limits(const ProcessLimits& limits) {
  if (const char* step = limit(RLIMIT_CORE, 0, 0, "limit core files")) return step;
  const rlim_t most_files = limits.open_files > 0 ? limits.open_files : 65536;
  if (const char* step =
          limit(RLIMIT_NOFILE, std::min<rlim_t>(most_files, 4096), most_files, "limit open files"))
    return step;
  if (limits.cpu_s > 0)
    if (const char* step = limit(RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 2, "limit processor time"))
      return step;
  if (limits.memory > 0)
    if (const char* step = limit(RLIMIT_AS, limits.memory, limits.memory, "limit memory")) return step;
  if (limits.file_size > 0)
    if (const char* step = limit(RLIMIT_FSIZE, limits.file_size, limits.file_size, "limit file size"))
      return step;
  if (limits.processes > 0)
    if (const char* step = limit(RLIMIT_NPROC, limits.processes, limits.processes, "limit processes"))
      return step;
  return nullptr;
}

const char* give_up_privileges(bool drop, uid_t user, gid_t group) {
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
    return "ambient capabilities";
  if (drop) {
    for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability)
      if (::prctl(PR_CAPBSET_DROP, capability) != 0 && errno != EPERM) return "bounding set";
    if (::setgroups(0, nullptr) != 0 && errno != EPERM) return "setgroups";
    if (::setresgid(group, group, group) != 0) return "setgid";
    if (::setresuid(user, user, user) != 0) return "setuid";
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return "no_new_privs";
  return nullptr;
}

}  // namespace mvm::kernel
