#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "domain_xml.h"
#include "initramfs.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/base/unique_fd.h"
#include "mvm/osvm/root_tree.h"
#include "vms.h"

namespace mvm::osvm::libvirt {
namespace {

constexpr const char* kKvmProbe = "mvm-probe-kvm-";
constexpr int kTcgPatience = 6;  // a guest under TCG on a busy machine is slow, not broken

/// Does libvirt offer KVM at all? (That it does proves nothing yet.)
bool offers_kvm(virConnectPtr connect) {
  const TextHandle xml(virConnectGetCapabilities(connect));
  if (!xml) {
    virResetLastError();
    return false;
  }
  return std::string_view(xml.get()).find("<domain type='kvm'") != std::string_view::npos;
}

/// The group that QEMU runs in under Debian's libvirt: it must reach the initramfs in the node's folder.
unsigned emulator_group() {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> text{};
  if (::getpwnam_r("libvirt-qemu", &entry, text.data(), text.size(), &found) != 0 || found == nullptr)
    return 0;
  return found->pw_gid;
}

/// The host's file of shared memory belongs to root; QEMU is not root.
Status open_to_emulator(const std::filesystem::path& file) {
  const UniqueFd region(::open(file.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!region || ::fchown(region.get(), static_cast<uid_t>(-1), emulator_group()) != 0 ||
      ::fchmod(region.get(), 0660) != 0)
    return Error::from_errno(errno, "opening the shared memory " + file.string() + " to QEMU");
  return ok();
}

/// A guest writes on an overlay; the image stays as it is.
Result<std::filesystem::path> make_overlay(const VmSpec& spec) {
  const std::filesystem::path overlay = spec.folder / "disk.qcow2";
  MVM_TRY(remove_tree(overlay));
  SpawnOptions options;
  options.argv = {"qemu-img",
                  "create",
                  "-q",
                  "-f",
                  "qcow2",
                  "-b",
                  spec.image.disk.native(),
                  "-F",
                  spec.image.disk_format,
                  overlay.native()};
  auto done = run_captured(std::move(options), std::chrono::seconds(30));
  if (!done) return std::move(done).error().wrap("make a disk overlay (package qemu-utils)");
  if (!done->status.success()) return Error(ErrorCode::kIo, "make a disk overlay: " + done->errors);
  return overlay;
}

class QemuVms final : public LibvirtVms {
 public:
  explicit QemuVms(Options options) : LibvirtVms(Driver::kQemu, std::move(options)) {}

 private:
  Result<std::string> prepare(const VmSpec& spec) override {
    if (spec.image.arch != "x86_64")
      return Error(ErrorCode::kUnsupported, "driver qemu runs x86_64 images only, not " + spec.image.arch);
    MVM_ASSIGN(const bool kvm, use_kvm(spec));
    QemuSettings settings;
    settings.kvm = kvm;
    settings.kernel = spec.image.kernel.empty() ? options_.kernel : spec.image.kernel;
    const auto& initramfs = spec.image.initramfs.empty() ? options_.initramfs : spec.image.initramfs;
    if (settings.kernel.empty() || initramfs.empty())
      return Error(
          ErrorCode::kNotFound,
          "driver qemu needs a guest kernel and an initramfs; packaging/make-qemu-image DIR makes them");
    if (std::error_code none; !std::filesystem::is_regular_file(settings.kernel, none))
      return Error(ErrorCode::kNotFound, "there is no guest kernel " + settings.kernel.native() +
                                             "; packaging/make-qemu-image makes it");
    MVM_TRY(make_node_folder(spec, 0, emulator_group()));
    if (spec.region) MVM_TRY(open_to_emulator(spec.region->file));
    MVM_ASSIGN(settings.virtiofs, write_virtiofs_daemons(options_.cache));
    settings.initramfs = spec.folder / "initramfs";
    MVM_ASSIGN(const auto alternatives, alternatives_.folder(spec.image.root));
    MVM_TRY(write_initramfs(spec, initramfs, alternatives, settings.initramfs));
    MVM_TRY(remove_tree(channel_socket(spec.folder)));
    if (spec.image.kind == ImageKind::kDisk) {
      MVM_ASSIGN(settings.disk, make_overlay(spec));
    }
    return qemu_domain(spec, settings);
  }

  /// KVM only where a probe VM really booted with it.
  Result<bool> use_kvm(const VmSpec& spec) {
    if (spec.id.starts_with(kKvmProbe)) return true;
    const std::lock_guard lock(kvm_mutex_);
    if (!kvm_) {
      MVM_ASSIGN(const ConnectHandle connection, connect());
      kvm_ = offers_kvm(connection.get()) && boot_probe(kKvmProbe, options_.boot_deadline).has_value();
    }
    return *kvm_;
  }

  void know(const DriverStatus& status) override {
    const std::lock_guard lock(kvm_mutex_);
    kvm_ = status.accelerator == "kvm";
  }

  void try_out(virConnectPtr connect, DriverStatus& status) override {
    unsigned long version = 0;
    if (virConnectGetVersion(connect, &version) != 0) virResetLastError();
    status.detail =
        "QEMU " + std::to_string(version / 1'000'000) + "." + std::to_string(version / 1000 % 1000);
    const auto kvm = use_kvm({});
    status.accelerator = kvm && *kvm ? "kvm" : "tcg";
    if (status.accelerator == "tcg") {
      if (auto booted = boot_probe("mvm-probe-tcg-", kTcgPatience * options_.boot_deadline); !booted) {
        status.detail += "; a machine does not boot: " + booted.error().describe();
        return;
      }
      status.detail += offers_kvm(connect) ? "; KVM is there, but no machine boots with it" : "; no KVM";
    }
    status.works = status.isolates = status.networks = true;
    status.limits_memory = status.limits_cpu = status.limits_pids = true;
  }

  std::mutex kvm_mutex_;
  std::optional<bool> kvm_;
};

}  // namespace

std::unique_ptr<Hypervisor> open_qemu(Options options) {
  if (options.uri.empty()) options.uri = "qemu:///system";
  return std::make_unique<QemuVms>(std::move(options));
}

}  // namespace mvm::osvm::libvirt
