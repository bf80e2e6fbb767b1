#include "contract.h"
#include "private_libvirt.h"

namespace mvm::osvm::contract {
namespace {

class LxcWorld final : public World {
 public:
  std::string missing() override { return libvirt_.missing(); }
  std::unique_ptr<Hypervisor> open() override {
    return libvirt::open_lxc({.uri = libvirt_.uri("LXC"), .cache = libvirt_.cache()});
  }
  void kill_guest(const VmInfo& info) override {
    // The controller is the process that holds the container: "libvirt_lxc --name ID ...".
    for (const int pid : processes_with(info.id)) ::kill(pid, SIGKILL);
  }
  bool kill_daemon() override {
    libvirt_.kill_daemon();
    return true;
  }
  void start_daemon() override { libvirt_.start(); }
  bool anything_left(const VmInfo& info) override {
    if (!processes_with(info.id).empty()) return true;
    std::error_code problem;
    for (const auto& group : std::filesystem::directory_iterator("/sys/fs/cgroup/memory/machine", problem))
      if (group.path().filename().string().find("-" + info.id + ".") != std::string::npos) return true;
    return false;
  }

 private:
  PrivateLibvirt libvirt_;
};

World& world() {
  static LxcWorld the_world;
  return the_world;
}

INSTANTIATE_TEST_SUITE_P(Lxc, HypervisorContract, testing::Values(MakeWorld(world)),
                         [](const auto&) { return "libvirt"; });

/// A first program that compiles as the job's user, runs the outcome and stays.
std::vector<std::string> compile_and_run() {
  return {
      "/bin/sh", "-c",
      "mkdir /work/b && chown mvm:mvm /work/b && cd /work/b && "
      R"(printf '#include <iostream>\nint main() { std::cout << "hello from inside" << std::endl; }' >a.cpp && )"
      "setpriv --reuid mvm --regid mvm --clear-groups sh -c 'c++ -O1 a.cpp -o a && ./a && id -un'; "
      "echo compiler $(c++ -dumpfullversion); echo idle in pid $$; exec sleep 1000"};
}

class LxcDriver : public HypervisorContract {};
INSTANTIATE_TEST_SUITE_P(Lxc, LxcDriver, testing::Values(MakeWorld(world)),
                         [](const auto&) { return "libvirt"; });

TEST_P(LxcDriver, CompilesInsideAsTheJobUser) {
  VmSpec vm = spec("builder");
  vm.limits.memory_bytes = 512 << 20;
  vm.argv = compile_and_run();
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  EXPECT_NE(console(vm.id).find("hello from inside\nmvm\n"), std::string::npos) << console(vm.id);
}

TEST_P(LxcDriver, ATreesCompilerIsNotTheHosts) {
  const std::filesystem::path image = std::filesystem::path(MVM_BINARY_DIR) / "tests/tree-image";
  SpawnOptions options;
  options.argv = {std::string(MVM_SOURCE_DIR) + "/packaging/make-tree-image", image.string(), "--compiler",
                  "g++-11"};
  const auto tool = run_captured(std::move(options), 300s);
  ASSERT_TRUE(tool) << tool.error().describe();
  if (!tool->status.success()) GTEST_SKIP() << tool->errors;  // no package registry to be reached
  VmSpec vm = spec("unlike");
  vm.limits.memory_bytes = 512 << 20;
  vm.image.kind = ImageKind::kTree;
  vm.image.root = image / "root";
  vm.argv = compile_and_run();
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  EXPECT_NE(console(vm.id).find("hello from inside\nmvm\n"), std::string::npos) << console(vm.id);
  EXPECT_NE(console(vm.id).find("compiler 11."), std::string::npos) << console(vm.id);
}

TEST_P(LxcDriver, ProbeBootsAContainer) {
  const DriverStatus status = hypervisor_->probe();
  EXPECT_TRUE(status.works) << status.detail;
  EXPECT_TRUE(status.isolates);
  EXPECT_NE(status.detail.find("libvirt "), std::string::npos) << status.detail;
  EXPECT_TRUE(hypervisor_->list()->empty()) << "the probe leaves nothing";
}

TEST_P(LxcDriver, DiskImagesAreRefused) {
  VmSpec vm = spec("disk");
  vm.image.kind = ImageKind::kDisk;
  vm.image.disk = "/dev/null";
  const auto refused = hypervisor_->create(vm);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace mvm::osvm::contract
