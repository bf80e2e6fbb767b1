#include "mvm/osvm/doctor.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"

namespace mvm::osvm {
namespace {

namespace fs = std::filesystem;

Check good(std::string name, std::string found) { return {std::move(name), true, std::move(found), ""}; }
Check bad(std::string name, std::string found, std::string mend) {
  return {std::move(name), false, std::move(found), std::move(mend)};
}

std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

std::string first_line(const fs::path& file) {
  auto text = read_file(file, 1 << 16);
  return text ? text->substr(0, text->find('\n')) : "";
}

Check check_cgroups() {
  std::error_code none;
  if (fs::exists("/sys/fs/cgroup/cgroup.controllers", none)) {
    const std::string controllers = " " + first_line("/sys/fs/cgroup/cgroup.controllers") + " ";
    for (const std::string wanted : {"cpu", "memory", "pids"})
      if (controllers.find(" " + wanted + " ") == std::string::npos)
        return bad("control-groups", "version 2 without the " + wanted + " controller",
                   "boot with cgroup_enable=" + wanted + " (memory: also swapaccount=1)");
    return good("control-groups", "version 2 with cpu, memory, pids");
  }
  for (const char* wanted : {"cpu", "memory", "freezer", "devices"})
    if (!fs::is_directory(std::string("/sys/fs/cgroup/") + wanted, none))
      return bad("control-groups", std::string("no ") + wanted + " controller below /sys/fs/cgroup",
                 "mount the control groups (package cgroupfs-mount), or boot with systemd");
  const bool mixed = fs::exists("/sys/fs/cgroup/unified/cgroup.controllers", none) &&
                     first_line("/sys/fs/cgroup/unified/cgroup.controllers").empty();
  return good("control-groups", mixed ? "version 1, and an empty version 2 that libvirtd-private hides"
                                      : "version 1 with cpu, memory, freezer, devices");
}

Check check_shared_memory() {
  struct statvfs info {};
  if (::statvfs("/dev/shm", &info) != 0)
    return bad("shared-memory", "/dev/shm is missing", "mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm");
  const std::uint64_t free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  const std::string found = "/dev/shm with " + mebibytes(free_bytes) + " free";
  if (free_bytes < (256ull << 20))
    return bad("shared-memory", found, "mount -o remount,size=1G /dev/shm (queues live there)");
  return good("shared-memory", found);
}

Check check_message_queues() {
  const std::string name = "/mvm-doctor-" + random_hex(6);
  mq_attr attributes{};
  attributes.mq_maxmsg = 4;
  attributes.mq_msgsize = 256;
  const mqd_t queue = ::mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
  if (queue == static_cast<mqd_t>(-1)) {
    const int problem = errno;
    return bad("message-queues", "mq_open: " + Error::from_errno(problem, "mq_open").message(),
               problem == ENOSYS ? "a kernel with CONFIG_POSIX_MQUEUE"
                                 : "raise /proc/sys/fs/mqueue/queues_max and RLIMIT_MSGQUEUE");
  }
  ::mq_close(queue);
  ::mq_unlink(name.c_str());
  return good("message-queues", "POSIX queues work; at most " + first_line("/proc/sys/fs/mqueue/queues_max"));
}

Check check_disk(const fs::path& state) {
  fs::path there = state;
  std::error_code none;
  while (!fs::exists(there, none) && there.has_relative_path()) there = there.parent_path();
  struct statvfs info {};
  if (::statvfs(there.c_str(), &info) != 0)
    return bad("disk", "cannot look at " + there.string(), "give a folder that can be read");
  const std::uint64_t free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  const std::string found = mebibytes(free_bytes) + " free at " + there.string();
  if (free_bytes < (2048ull << 20))
    return bad("disk", found, "free at least 2 GiB, or use another state folder");
  if (::access(there.c_str(), W_OK) != 0)
    return bad("disk", found + ", not writable", "run as root, or change its owner");
  return good("disk", found);
}

/// The first line that `program --version` prints; empty where it does not run.
std::string version_of(const std::string& program) {
  SpawnOptions options;
  options.argv = {program, "--version"};
  const auto said = run_captured(std::move(options), std::chrono::seconds(5), 4096);
  if (!said || !said->status.success()) return "";
  return said->output.substr(0, said->output.find('\n'));
}

Check check_compiler() {
  for (const char* name : {"g++", "clang++"})
    if (const std::string version = version_of(name); !version.empty()) return good("compiler", version);
  return bad("compiler", "neither g++ nor clang++",
             "apt-get install g++ (the host image lends it to containers)");
}

Check check_user_namespaces() {
  const std::string most = first_line("/proc/sys/user/max_user_namespaces");
  unsigned long count = 0;
  std::from_chars(most.data(), most.data() + most.size(), count);
  if (count == 0)
    return bad("user-namespaces", most.empty() ? "the kernel has none" : "none are allowed",
               "sysctl user.max_user_namespaces=15000 (kernel with CONFIG_USER_NS)");
  return good("user-namespaces", "up to " + most);
}

Check check_guest_kernel() {
  std::error_code none;
  std::string found;
  for (const auto& entry : fs::directory_iterator("/boot", none))
    if (const std::string name = entry.path().filename(); name.starts_with("vmlinuz-"))
      if (found.empty() || name.find("cloud") != std::string::npos) found = name;
  if (found.empty())
    return bad("guest-kernel", "no kernel in /boot",
               "apt-get install linux-image-cloud-amd64 (for QEMU nodes)");
  return good("guest-kernel", "/boot/" + found);
}

Check check_programs(const std::string& name, const std::vector<std::string>& files,
                     const std::string& mend) {
  for (const std::string& file : files)
    if (::access(file.c_str(), X_OK) != 0) return bad(name, file + " is missing", mend);
  return good(name, files.front());
}

Check check_user() {
  if (::geteuid() == 0) return good("user", "root");
  return bad("user", "not root: only driver process, and what libvirt's session offers", "run mvmd as root");
}

}  // namespace

std::vector<Check> check_machine(const fs::path& state) {
  return {check_user(),
          check_cgroups(),
          check_user_namespaces(),
          check_shared_memory(),
          check_message_queues(),
          check_disk(state),
          check_compiler(),
          check_programs("lxc-programs", {"/usr/lib/libvirt/libvirt_lxc"},
                         "apt-get install libvirt-daemon-driver-lxc"),
          check_programs("qemu-programs", {"/usr/bin/qemu-system-x86_64", "/usr/lib/qemu/virtiofsd"},
                         "apt-get install qemu-system-x86"),
          check_guest_kernel()};
}

}  // namespace mvm::osvm
