#pragma once
// What an OS-level VM is to be, and what one is [MVM 2006, §2.1: "each with its own processor, sharing and
// resource management rules"].

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::osvm {

/// The implementations of an OS-level VM.
enum class Driver {
  kProcess,  ///< a plain child process: no isolation
  kLxc,      ///< a libvirt LXC container in a user namespace
  kQemu,     ///< a libvirt QEMU machine, KVM or TCG
};

/// "process", "lxc", "qemu".
[[nodiscard]] std::string_view to_string(Driver driver);
/// kInvalid for any other word.
[[nodiscard]] Result<Driver> driver_from(std::string_view word);

/// Where a VM's operating system comes from.
enum class ImageKind {
  kHost,  ///< the host's own /usr, read-only
  kTree,  ///< a root file system tree in a folder, read-only; its /usr is used
  kDisk,  ///< a disk with a root file system (QEMU), used through a throw-away overlay
};

/// An image, as the driver needs it: already on this host.
struct ImageSpec {
  ImageKind kind = ImageKind::kHost;
  std::filesystem::path root = "/";  ///< kTree: the tree; kHost: always "/"
  std::filesystem::path kernel;      ///< QEMU: the guest's kernel (docs/formats/images.md)
  std::filesystem::path initramfs;   ///< QEMU: made by packaging/make-qemu-image
  std::filesystem::path disk;        ///< kDisk: raw or qcow2
  std::string disk_format = "raw";   ///< "raw" or "qcow2"; never guessed from the disk's bytes
  std::string arch = "x86_64";       ///< as `uname -m` says inside
};

/// A host folder seen inside the VM.
struct Bind {
  std::filesystem::path host;   ///< absolute, exists
  std::filesystem::path guest;  ///< absolute
  bool read_only = true;
};

/// A network interface with a static address.
struct NetworkAttachment {
  std::string network;   ///< name of a network made by ensure_network()
  std::string address;   ///< dotted IPv4, e.g. "10.77.3.5"
  unsigned prefix = 24;  ///< 1 to 30
  std::string mac;       ///< empty: derived from the VM's id
  std::string gateway;   ///< empty: no default route
};

/// Who a VM belongs to. Kept in the hypervisor's own metadata, so that a restarted daemon finds, adopts or
/// reaps it.
struct VmLabels {
  std::string lab;
  std::string job;   ///< empty where the lab has no job
  std::string node;  ///< the node's name within the lab; also the guest's host name
  unsigned attempt = 1;
};

/// Resource limits, enforced by the hypervisor where the driver can (DriverStatus says what it can).
struct VmLimits {
  unsigned vcpus = 1;                         ///< processors the guest sees
  double cpu_quota = 0;                       ///< processors it may use per period; 0: as many as vcpus
  std::uint64_t memory_bytes = 256ull << 20;  ///< a process that takes more is killed
  std::uint64_t shm_bytes = 64ull << 20;      ///< size of /dev/shm, part of memory_bytes
  std::uint64_t tmp_bytes = 64ull << 20;      ///< size of /tmp, part of memory_bytes
  unsigned pids = 4096;                       ///< processes and threads
};

/// Memory that guests of one host share with each other and with it: a file in /dev/shm, made by the host and
/// removed by it. QEMU only: PCI device 1af4:1110 in the guest.
struct SharedRegion {
  std::filesystem::path file;
  std::uint64_t bytes = 0;  ///< a power of two, at least 1 MiB
};

/// Everything a driver needs to make one VM. All strings may come from outside: validate() is the gate and
/// create() calls it.
struct VmSpec {
  std::string id;  ///< unique on this hypervisor: "mvm-LAB-NODE", [a-z0-9-], at most 63 characters
  VmLabels labels;
  ImageSpec image;
  VmLimits limits;
  std::optional<NetworkAttachment> network;
  std::vector<std::pair<std::string, std::string>>
      hosts;  ///< (name, address) lines of the guest's /etc/hosts
  std::optional<SharedRegion> region;
  std::vector<Bind> binds;        ///< beside those every VM has (see below)
  std::vector<std::string> argv;  ///< the first program, absolute inside the VM
  std::vector<std::pair<std::string, std::string>> environment;
  /// The node's folder on the host (<state>/labs/LAB/nodes/NODE), absolute, made by create() where missing.
  /// The driver puts run/, work/, root/ and console.log there; whoever removes the lab removes it after
  /// destroy().
  std::filesystem::path folder;
  /// Where root/, which lives no longer than the VM, is made: a folder in memory, since its some fifty files
  /// and folders are most of what a launch asks of a disk. Absolute, made by create() where missing;
  /// destroy() removes root/, whoever removes the lab removes the folder. Empty: `folder`.
  std::filesystem::path scratch;
  std::filesystem::path tools = "/opt/mvm";  ///< host folder seen as /opt/mvm inside, read-only
};

/// The root file system's skeleton of a VM to be made: root/ in its scratch folder.
[[nodiscard]] std::filesystem::path root_folder(const VmSpec& spec);
/// Folder of the guest channel: bound at /run/mvm inside (LXC, process: the host listens on channel.sock and
/// the guest connects; QEMU: QEMU listens on channel.sock, the host connects, the guest opens virtio port
/// "mvm.control.0").
[[nodiscard]] std::filesystem::path run_folder(const std::filesystem::path& node_folder);
/// The guest channel's socket: run_folder()/channel.sock.
[[nodiscard]] std::filesystem::path channel_socket(const std::filesystem::path& node_folder);
/// Folder seen as /work inside: on the host's disk, gone with the lab.
[[nodiscard]] std::filesystem::path work_folder(const std::filesystem::path& node_folder);
/// File that receives what the VM writes to its console.
[[nodiscard]] std::filesystem::path console_log(const std::filesystem::path& node_folder, Driver driver);

/// Name of the virtio-serial port of the guest channel.
inline constexpr std::string_view kControlPort = "mvm.control.0";
/// First host uid and gid of the range given to containers' users: uid 0 inside is this one outside.
inline constexpr unsigned kFirstGuestId = 100000;
/// How many ids a container has.
inline constexpr unsigned kGuestIds = 65536;
/// Who runs jobs inside: user and group "mvm".
inline constexpr unsigned kJobUser = 1000;

/// kInvalid with the field's name where a value is missing, out of bounds, or has characters that its place
/// does not allow.
[[nodiscard]] Status validate(const VmSpec& spec);

/// What a VM is doing.
enum class VmState {
  kRunning,
  kSuspended,
  kStopping,  ///< on its way out
  kStopped,   ///< ended; still known until destroy()
};
[[nodiscard]] std::string_view to_string(VmState state);

/// A VM that exists.
struct VmInfo {
  std::string id;
  Driver driver = Driver::kProcess;
  VmLabels labels;
  VmState state = VmState::kRunning;
  std::filesystem::path folder;  ///< the node's folder, as given at creation
  std::string address;           ///< its IPv4 address, empty without network
  std::string arch;
  long pid = 0;                   ///< first process as the host sees it (QEMU: the emulator); 0: unknown
  std::filesystem::path scratch;  ///< its scratch folder, as given at creation; empty: none
};

/// Resources used so far.
struct VmStats {
  std::uint64_t cpu_ns = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;
};

}  // namespace mvm::osvm
