#include "mvm/osvm/libvirt/libvirt.h"

namespace mvm::osvm::libvirt {
namespace {

Check check_driver(Hypervisor& hypervisor, const std::string& name, const std::string& mend) {
  const DriverStatus status = hypervisor.probe();
  std::string found = status.detail;
  if (!status.accelerator.empty()) found += " (" + status.accelerator + ")";
  if (status.works) return {name, true, "a VM boots: " + found, ""};
  return {name, false, found, mend};
}

}  // namespace

std::vector<Check> check_libvirt(const Options& lxc, const Options& qemu) {
  std::vector<Check> checks;
  auto loop = EventLoop::start();
  if (!loop) {
    checks.push_back({"libvirt", false, loop.error().describe(), "apt-get install libvirt0"});
    return checks;
  }
  {
    const auto containers = open_lxc(lxc);
    const auto reached = containers->list();
    const std::string uri = lxc.uri.empty() ? "lxc:///" : lxc.uri;
    if (!reached) {
      checks.push_back({"libvirt", false, reached.error().message(),
                        "start libvirtd (apt-get install libvirt-daemon-system), or a private one: "
                        "packaging/libvirtd-private start DIR"});
      return checks;
    }
    checks.push_back({"libvirt", true, "answers at " + uri, ""});
    checks.push_back(
        check_driver(*containers, "lxc",
                     "apt-get install libvirt-daemon-driver-lxc; where control groups of versions 1 and 2 "
                     "are mixed, use packaging/libvirtd-private"));
  }
  const auto machines = open_qemu(qemu);
  checks.push_back(
      check_driver(*machines, "qemu",
                   "apt-get install qemu-system-x86 linux-image-cloud-amd64 busybox-static cpio; "
                   "packaging/make-qemu-image DIR makes the guest kernel and initramfs"));
  return checks;
}

}  // namespace mvm::osvm::libvirt
