#include "mvm/osvm/process/process.h"

#include <signal.h>

#include "contract.h"

namespace mvm::osvm::contract {
namespace {

/// Host processes of one VM, by the variable that all of them inherit.
std::vector<int> processes_of(const std::string& id) {
  std::vector<int> result;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto text = read_file(entry.path() / "environ", 1 << 20);
    if (text && (*text + '\0').find("MVM_VM_ID=" + id + '\0') != std::string::npos)
      result.push_back(std::stoi(name));
  }
  return result;
}

/// The process that watches over a VM's first program.
pid_t supervisor_of(const VmInfo& vm) {
  const auto status = read_file("/proc/" + std::to_string(vm.pid) + "/status", 1 << 16);
  return status ? std::stoi(status->substr(status->find("PPid:") + 5)) : -1;
}

/// Ended, whether somebody has reaped it or not.
bool ended(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat", 1 << 16).value_or("");
  const auto name_ends = stat.rfind(") ");
  return name_ends == std::string::npos || stat[name_ends + 2] == 'Z' || stat[name_ends + 2] == 'X';
}

class ProcessWorld final : public World {
 public:
  ~ProcessWorld() override { static_cast<void>(remove_tree(state_)); }
  std::string missing() override { return ""; }
  std::unique_ptr<Hypervisor> open() override {
    auto opened = process::open({state_});
    EXPECT_TRUE(opened) << opened.error().describe();
    return opened ? std::move(*opened) : nullptr;
  }
  void kill_guest(const VmInfo& info) override { ::kill(static_cast<pid_t>(info.pid), SIGKILL); }
  bool isolates() const override { return false; }
  bool limits() const override { return false; }
  bool anything_left(const VmInfo& info) override { return !processes_of(info.id).empty(); }
  const std::filesystem::path& state() const { return state_; }

 private:
  const std::filesystem::path state_ = *make_temporary_folder("/tmp", "mvm-process-");
};

ProcessWorld& process_world() {
  static ProcessWorld the_world;
  return the_world;
}
World& world() { return process_world(); }

INSTANTIATE_TEST_SUITE_P(Process, HypervisorContract, testing::Values(MakeWorld(world)),
                         [](const auto&) { return "process"; });

class ProcessDriver : public HypervisorContract {};
INSTANTIATE_TEST_SUITE_P(Process, ProcessDriver, testing::Values(MakeWorld(world)),
                         [](const auto&) { return "process"; });

TEST_P(ProcessDriver, SaysThatItIsolatesNothing) {
  const DriverStatus status = hypervisor_->probe();
  EXPECT_TRUE(status.works);
  EXPECT_FALSE(status.isolates);
  EXPECT_NE(status.detail.find("no isolation"), std::string::npos);
}

TEST_P(ProcessDriver, AKilledSupervisorLeavesNothing) {
  const VmSpec vm = spec("orphan", {"stubborn"});
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  ASSERT_TRUE(wait_until([&] { return processes_of(vm.id).size() >= 2; }))
      << "the program and its runaway child";
  const pid_t supervisor = supervisor_of(*made);
  ASSERT_GT(supervisor, 1);
  ASSERT_EQ(::kill(supervisor, SIGKILL), 0);
  ASSERT_TRUE(events_.wait_for(VmEvent::Kind::kStopped, vm.id));
  EXPECT_TRUE(processes_of(vm.id).empty());
}

TEST_P(ProcessDriver, ToldWhyItCannotStart) {
  VmSpec vm = spec("absent");
  vm.argv = {"/opt/mvm/no-such-program"};
  const auto refused = hypervisor_->create(vm);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().describe().find("No such file"), std::string::npos) << refused.error().describe();
  EXPECT_FALSE(lists(vm.id));
  EXPECT_FALSE(std::filesystem::exists(process_world().state() / (vm.id + ".json")));
}

TEST_P(ProcessDriver, DeathWhileNobodyWatchedLeavesNoRecord) {
  const VmSpec vm = spec("lonely", {"stubborn"});
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  hypervisor_->on_event({});
  hypervisor_.reset();
  const pid_t supervisor = supervisor_of(*made);
  ASSERT_GT(supervisor, 1);
  ASSERT_EQ(::kill(static_cast<pid_t>(made->pid), SIGKILL), 0);
  ASSERT_TRUE(wait_until([&] { return processes_of(vm.id).empty() && ended(supervisor); }));
  hypervisor_ = world_->open();
  EXPECT_FALSE(lists(vm.id));
  EXPECT_FALSE(std::filesystem::exists(process_world().state() / (vm.id + ".json")));
}

TEST_P(ProcessDriver, GivesNoVariableOfTheDaemonAway) {
  ::setenv("MVM_SECRET_OF_THE_DAEMON", "1", 1);  // NOLINT(concurrency-mt-unsafe): before any thread reads
  VmSpec vm = spec("env");
  vm.argv = {"/bin/sh", "-c", "env; pwd; echo idle in pid $$; exec sleep 1000"};
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  const std::string text = console(vm.id);
  EXPECT_EQ(text.find("SECRET"), std::string::npos) << text;
  EXPECT_NE(text.find("MVM_RUN=" + run_folder(vm.folder).native() + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n" + work_folder(vm.folder).native() + "\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace mvm::osvm::contract
