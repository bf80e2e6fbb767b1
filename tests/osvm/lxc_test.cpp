#include "contract.h"
#include "libvirt_world.h"

namespace mvm::osvm::contract {
namespace {

class LxcWorld final : public World {
 public:
  std::string missing() override { return libvirt_.missing(); }
  std::unique_ptr<Hypervisor> open() override { return libvirt::open_lxc({.uri = libvirt_.uri("LXC")}); }
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

}  // namespace
}  // namespace mvm::osvm::contract
