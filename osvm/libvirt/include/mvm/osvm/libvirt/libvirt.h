#pragma once
// OS-level VMs through libvirt: LXC containers and QEMU machines.

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mvm/osvm/doctor.h"
#include "mvm/osvm/hypervisor.h"

namespace mvm::osvm::libvirt {

/// libvirt's event loop: process-wide, so main makes one before the first connection and lets it go after the
/// last. Runs on a thread of its own.
class EventLoop {
 public:
  /// Registers libvirt's default loop (once per process) and starts the thread. kUnavailable where libvirt
  /// refuses.
  [[nodiscard]] static Result<std::unique_ptr<EventLoop>> start();
  /// Stops and joins the thread.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

 private:
  struct State;
  explicit EventLoop(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// How to reach libvirt.
struct Options {
  std::string uri;  ///< empty: "lxc:///" or "qemu:///system"
  /// A probe VM that has not booted by then never will (under TCG: six times as long).
  std::chrono::milliseconds boot_deadline{15'000};
  std::filesystem::path kernel;     ///< QEMU: default guest kernel and initramfs, for the probe and for
  std::filesystem::path initramfs;  ///< images that name none
  /// What VMs share read-only (a few links); its parents must be searchable by all users.
  std::filesystem::path cache = "/var/cache/mvm";
};

/// A hypervisor that need not be reachable yet: it is connected in the background, and calls meanwhile answer
/// kUnavailable. The EventLoop must outlive it.
[[nodiscard]] std::unique_ptr<Hypervisor> open_lxc(Options options);
[[nodiscard]] std::unique_ptr<Hypervisor> open_qemu(Options options);

/// Checks for `mvm doctor`: libvirt reachable, a container that really boots, a machine that really boots and
/// with which accelerator. Makes small VMs and removes them; some seconds, twice the boot deadline at worst.
/// Runs an event loop of its own: not for a process that has one.
[[nodiscard]] std::vector<Check> check_libvirt(const Options& lxc, const Options& qemu);

}  // namespace mvm::osvm::libvirt
