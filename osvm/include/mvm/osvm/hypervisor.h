#pragma once
// The one interface to OS-level VMs [MVM 2006, §2.1]; osvm/libvirt and osvm/process implement it, and all
// pass tests/osvm/contract.h.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mvm/osvm/network_spec.h"
#include "mvm/osvm/vm_spec.h"

namespace mvm::osvm {

/// What a driver really can do on this machine, found by trying.
struct DriverStatus {
  Driver driver = Driver::kProcess;
  bool works = false;
  std::string accelerator;  ///< QEMU: "kvm" where a probe VM booted with it, else "tcg"; others: empty
  std::string detail;       ///< for people: version, or what failed and how to mend it
  bool isolates = false;    ///< guests cannot see the host's processes and files
  bool limits_memory = false;
  bool limits_cpu = false;
  bool limits_pids = false;
  bool networks = false;
};

/// Something that happened to a VM, or to the connection with the hypervisor.
struct VmEvent {
  enum class Kind {
    kStopped,  ///< the VM is gone or has ended; `detail` says why ("shutdown", "crashed", "destroyed")
    kSuspended,
    kResumed,
    kConnectionLost,      ///< the hypervisor's daemon cannot be reached; VMs may well live on
    kConnectionRestored,  ///< reached again; a kStopped for each VM that went meanwhile follows
  };
  Kind kind = Kind::kStopped;
  std::string vm;  ///< empty for the connection's events
  std::string detail;
};

/// A piece of a VM's console output.
struct ConsolePiece {
  std::string bytes;
  std::uint64_t next = 0;  ///< cursor for the next call
};

/// Optional ability: stop a VM's processors and let them go on, memory kept.
class Suspendable {
 public:
  virtual ~Suspendable() = default;
  /// No error if it is suspended already.
  [[nodiscard]] virtual Status suspend(const std::string& id) = 0;
  /// No error if it is running already.
  [[nodiscard]] virtual Status resume(const std::string& id) = 0;
};

/// Optional ability: networks that VMs attach to. Each call may be repeated.
class NetworkProvider {
 public:
  virtual ~NetworkProvider() = default;
  /// Makes the network, or finds it as specified. kConflict where the name or the subnet is in use otherwise.
  [[nodiscard]] virtual Status ensure_network(const NetworkSpec& spec) = 0;
  /// Removes the network and its bridge; no error if there is none.
  [[nodiscard]] virtual Status remove_network(const std::string& name) = 0;
  /// The networks that carry a lab's id.
  [[nodiscard]] virtual Result<std::vector<NetworkSpec>> list_networks() = 0;
};

/// VMs of one driver on this host. Every method may be called from any thread, blocks until done or a bounded
/// time has passed, and may be repeated safely after a crash. kUnavailable: the hypervisor's daemon cannot be
/// reached now (it is being reconnected in the background).
class Hypervisor {
 public:
  using EventHandler = std::function<void(const VmEvent&)>;
  virtual ~Hypervisor() = default;

  [[nodiscard]] virtual Driver driver() const = 0;
  /// Tries the driver and says what works. Starts at most one small VM with a deadline of its own (QEMU with
  /// KVM); the answer is kept until the object goes.
  [[nodiscard]] virtual DriverStatus probe() = 0;

  /// Starts the VM, or adopts the one that has this id and the same labels already. kConflict where the id is
  /// taken by other labels. On failure nothing of it is left.
  [[nodiscard]] virtual Result<VmInfo> create(const VmSpec& spec) = 0;
  /// Ends the VM: SIGTERM to its first program, which ends at once by contract, then by force. Afterwards no
  /// process of it lives. No error if there is none.
  [[nodiscard]] virtual Status destroy(const std::string& id) = 0;
  /// All VMs made by MVM on this hypervisor, whichever daemon made them.
  [[nodiscard]] virtual Result<std::vector<VmInfo>> list() = 0;
  /// kNotFound where there is none, or it has ended and left.
  [[nodiscard]] virtual Result<VmInfo> find(const std::string& id) = 0;
  [[nodiscard]] virtual Result<VmStats> stats(const std::string& id) = 0;
  /// Output written to the console since byte `cursor`, at most `limit` bytes; empty where there is no more
  /// yet. Works until the node's folder is removed, after the VM's end too, for VMs this object knew.
  [[nodiscard]] virtual Result<ConsolePiece> console(const std::string& id, std::uint64_t cursor,
                                                     std::size_t limit) = 0;

  /// The one receiver of events, called on a thread of the driver: it must not block nor call the hypervisor
  /// from inside. An empty function unsubscribes; after that call returns no event is under way.
  virtual void on_event(EventHandler handler) = 0;

  /// Optional abilities; null where the driver has none. They live as long as this object.
  [[nodiscard]] virtual Suspendable* suspendable() { return nullptr; }
  [[nodiscard]] virtual NetworkProvider* networks() { return nullptr; }
};

/// Reads a console's log on its own: bytes since `cursor`, at most `limit`. The file may be written by the
/// guest: links are not followed, and anything but a regular file is refused. A missing file reads as empty.
[[nodiscard]] Result<ConsolePiece> read_console(const std::filesystem::path& log, std::uint64_t cursor,
                                                std::size_t limit);

}  // namespace mvm::osvm
