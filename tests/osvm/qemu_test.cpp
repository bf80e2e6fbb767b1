#include <sys/socket.h>
#include <sys/un.h>

#include <array>

#include "contract.h"
#include "private_libvirt.h"

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
    return libvirt::open_qemu({.uri = libvirt_.uri("QEMU"),
                               .kernel = image_ / "kernel",
                               .initramfs = image_ / "initramfs",
                               .cache = libvirt_.cache()});
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

class QemuDriver : public HypervisorContract {};
INSTANTIATE_TEST_SUITE_P(Qemu, QemuDriver, testing::Values(MakeWorld(world)),
                         [](const auto&) { return "libvirt"; });

TEST_P(QemuDriver, ProbeNamesTheAcceleratorThatBoots) {
  const DriverStatus status = hypervisor_->probe();
  EXPECT_TRUE(status.works) << status.detail;
  EXPECT_TRUE(status.accelerator == "kvm" || status.accelerator == "tcg") << status.accelerator;
  EXPECT_TRUE(hypervisor_->list()->empty()) << "the probe leaves nothing";
}

TEST_P(QemuDriver, TheChannelCarriesBytesBothWays) {
  VmSpec vm = spec("talker");
  vm.argv = {"/bin/sh", "-c",
             "exec 3<>/dev/virtio-ports/mvm.control.0; read -r line <&3; echo \"heard $line\" >&3; "
             "echo idle in pid $$; exec sleep 1000"};
  MVM_CREATED(made, vm);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = channel_socket(vm.folder);
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_TRUE(write_all(fd.get(), "ping\n"));
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  std::array<char, 64> answer{};
  ASSERT_GT(::read(fd.get(), answer.data(), answer.size()), 0);
  EXPECT_EQ(std::string(answer.data()), "heard ping\n");
}

TEST_P(QemuDriver, BootsFromADiskAndLeavesItAsItWas) {
  const auto tree = folder_ / "tree";
  for (const char* folder : {"bin", "etc"}) std::filesystem::create_directories(tree / folder);
  for (const char* name : {"busybox", "sh"}) std::filesystem::copy_file("/bin/busybox", tree / "bin" / name);
  std::ofstream(tree / "etc/passwd") << "root:x:0:0::/:/bin/sh\n";
  std::ofstream(tree / "etc/marker") << "from the disk\n";
  const auto disk = folder_ / "disk.ext4";
  SpawnOptions options;
  options.argv = {"mke2fs", "-q", "-t", "ext4", "-d", tree.string(), disk.string(), "16M"};
  const auto formatted = run_captured(std::move(options), 30s);
  ASSERT_TRUE(formatted && formatted->status.success()) << "mke2fs (package e2fsprogs)";
  const auto before = sha256_of_file(disk);
  VmSpec vm = spec("disk");
  vm.image.kind = ImageKind::kDisk;
  vm.image.disk = disk;
  vm.argv = {"/bin/busybox", "sh", "-c",
             "busybox cat /etc/marker /etc/hostname; echo x >/written && echo wrote; busybox sync; "
             "exec /opt/mvm/test-init idle"};
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  EXPECT_NE(console(vm.id).find("from the disk\ndisk\nwrote\n"), std::string::npos) << console(vm.id);
  ASSERT_TRUE(hypervisor_->destroy(vm.id));
  EXPECT_EQ(*sha256_of_file(disk), *before);
  EXPECT_FALSE(std::filesystem::exists(vm.folder / "disk.qcow2")) << "the overlay goes with the VM";
}

}  // namespace
}  // namespace mvm::osvm::contract
