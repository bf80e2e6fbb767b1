#include "contract.h"
#include "libvirt_world.h"

namespace mvm::osvm::contract {
namespace {

class QemuWorld final : public World {
 public:
  QemuWorld() {
    if (!libvirt_.missing().empty()) return;
    SpawnOptions options;
    options.argv = {std::string(MVM_SOURCE_DIR) + "/packaging/make-qemu-image", image_.string()};
    const auto made = run_captured(std::move(options), 60s);
    if (!made || !made->status.success()) missing_ = made ? made->errors : made.error().describe();
  }
  std::string missing() override { return libvirt_.missing().empty() ? missing_ : libvirt_.missing(); }
  std::unique_ptr<Hypervisor> open() override {
    return libvirt::open_qemu(
        {.uri = libvirt_.uri("QEMU"), .kernel = image_ / "kernel", .initramfs = image_ / "initramfs"});
  }
  void kill_guest(const VmInfo& info) override {
    for (const int pid : processes_with("guest=" + info.id)) ::kill(pid, SIGKILL);
  }
  bool kill_daemon() override {
    libvirt_.kill_daemon();
    return true;
  }
  void start_daemon() override { libvirt_.start(); }
  bool anything_left(const VmInfo& info) override { return !processes_with(info.id).empty(); }

 private:
  const std::filesystem::path image_ = std::filesystem::path(MVM_BINARY_DIR) / "tests/qemu-image";
  std::string missing_;
  PrivateLibvirt libvirt_;
};

World& world() {
  static QemuWorld the_world;
  return the_world;
}

INSTANTIATE_TEST_SUITE_P(Qemu, HypervisorContract, testing::Values(MakeWorld(world)),
                         [](const auto&) { return "libvirt"; });

}  // namespace
}  // namespace mvm::osvm::contract
