#include "domain_xml.h"
#include "mvm/osvm/root_tree.h"
#include "vms.h"

namespace mvm::osvm::libvirt {
namespace {

class LxcVms final : public LibvirtVms {
 public:
  explicit LxcVms(Options options) : LibvirtVms(Driver::kLxc, std::move(options)) {}

 private:
  Result<std::string> prepare(const VmSpec& spec) override {
    if (spec.image.kind == ImageKind::kDisk)
      return Error(ErrorCode::kUnsupported, "a container cannot start from a disk image; use driver qemu");
    MVM_TRY(make_node_folder(spec, kFirstGuestId, kFirstGuestId));
    MVM_ASSIGN(const auto alternatives, alternatives_.folder(spec.image.root));
    return lxc_domain(spec, alternatives);
  }

  void try_out(virConnectPtr connect, DriverStatus& status) override {
    unsigned long version = 0;
    if (virConnectGetLibVersion(connect, &version) != 0) virResetLastError();
    status.detail =
        "libvirt " + std::to_string(version / 1'000'000) + "." + std::to_string(version / 1000 % 1000);
    if (auto booted = boot_probe("mvm-probe-lxc-", options_.boot_deadline); !booted) {
      status.detail += "; a container does not start: " + booted.error().describe();
      return;
    }
    status.works = status.isolates = status.networks = true;
    status.limits_memory = status.limits_cpu = status.limits_pids = true;
  }
};

}  // namespace

std::unique_ptr<Hypervisor> open_lxc(Options options) {
  if (options.uri.empty()) options.uri = "lxc:///";
  return std::make_unique<LxcVms>(std::move(options));
}

}  // namespace mvm::osvm::libvirt
