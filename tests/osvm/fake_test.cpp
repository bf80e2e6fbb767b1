#include "contract.h"
#include "fakes/fake_hypervisor.h"

namespace mvm::osvm::contract {
namespace {

class FakeWorld final : public World {
 public:
  FakeWorld() {
    machine_.set_play([](const VmSpec& spec) {
      if (spec.argv.size() > 1 && spec.argv[1] == "end")
        return std::pair<std::string, bool>("ending\n", true);
      return std::pair<std::string, bool>("idle in pid 1\n", false);
    });
  }
  std::string missing() override { return ""; }
  std::unique_ptr<Hypervisor> open() override { return std::make_unique<fakes::FakeHypervisor>(machine_); }
  void kill_guest(const VmInfo& info) override { machine_.kill(info.id); }
  bool kill_daemon() override {
    machine_.disconnect();
    return true;
  }
  void start_daemon() override { machine_.reconnect(); }
  bool isolates() const override { return false; }
  bool limits() const override { return false; }
  bool runs_programs() const override { return false; }
  bool anything_left(const VmInfo& info) override { return machine_.spec_of(info.id).has_value(); }

 private:
  fakes::FakeMachine machine_;
};

World& world() {
  static FakeWorld the_world;
  return the_world;
}

INSTANTIATE_TEST_SUITE_P(Fake, HypervisorContract, testing::Values(MakeWorld(world)),
                         [](const auto&) { return "fake"; });

}  // namespace
}  // namespace mvm::osvm::contract
