#pragma once
// What every implementation of osvm::Hypervisor must do. A test program includes this once and instantiates
// HypervisorContract with its World.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/osvm/hypervisor.h"

namespace mvm::osvm::contract {

using namespace std::chrono_literals;

/// One implementation and the surroundings it needs.
class World {
 public:
  virtual ~World() = default;
  /// Empty, or why this machine cannot run it: the tests are skipped with these words.
  [[nodiscard]] virtual std::string missing() = 0;
  /// A new object over the same machine, as a restarted daemon would make it.
  [[nodiscard]] virtual std::unique_ptr<Hypervisor> open() = 0;
  /// Lets a VM die without the hypervisor's help, as a crash would.
  virtual void kill_guest(const VmInfo& info) = 0;
  /// Kills the hypervisor's daemon and starts it again; false where there is no daemon.
  virtual bool kill_daemon() { return false; }
  virtual void start_daemon() {}
  /// Does the first program see the folders and run as a container or machine would show them?
  [[nodiscard]] virtual bool isolates() const { return true; }
  [[nodiscard]] virtual bool limits() const { return true; }
  /// Does a program really run inside? (A fake only plays it.)
  [[nodiscard]] virtual bool runs_programs() const { return true; }
  [[nodiscard]] virtual std::uint64_t memory() const { return 128ull << 20; }
  /// True where a process of the VM, as the host sees it, still lives.
  [[nodiscard]] virtual bool anything_left(const VmInfo& info) = 0;
};

/// Makes the one World of a test program; kept until the program ends, so that a daemon starts once.
using MakeWorld = std::function<World&()>;

inline bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds limit = 60s) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

/// Collects events; the tests wait on it.
class Events {
 public:
  void listen(Hypervisor& hypervisor) {
    hypervisor.on_event([this](const VmEvent& event) {
      const std::lock_guard lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    });
  }
  bool wait_for(VmEvent::Kind kind, const std::string& vm, std::chrono::milliseconds limit = 60s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return count(kind, vm) > 0; });
  }
  int count_of(VmEvent::Kind kind, const std::string& vm) {
    const std::lock_guard lock(mutex_);
    return count(kind, vm);
  }

 private:
  int count(VmEvent::Kind kind, const std::string& vm) const {
    int found = 0;
    for (const VmEvent& event : events_)
      if (event.kind == kind && event.vm == vm) ++found;
    return found;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<VmEvent> events_;
};

class HypervisorContract : public testing::TestWithParam<MakeWorld> {
 protected:
  void SetUp() override {
    world_ = &GetParam()();
    if (const std::string why = world_->missing(); !why.empty()) GTEST_SKIP() << why;
    auto folder = make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-contract-");
    ASSERT_TRUE(folder) << folder.error().describe();
    folder_ = *folder;
    ::chmod(folder_.c_str(), 0711);
    hypervisor_ = world_->open();
    ASSERT_NE(hypervisor_, nullptr);
    events_.listen(*hypervisor_);
  }
  void TearDown() override {
    if (hypervisor_) {
      hypervisor_->on_event({});
      for (const std::string& id : made_) {
        const auto gone = hypervisor_->destroy(id);
        EXPECT_TRUE(gone) << gone.error().describe();
      }
    }
    if (!folder_.empty()) {
      EXPECT_TRUE(remove_tree(folder_));
    }
  }

  VmSpec spec(const std::string& node, std::vector<std::string> words = {"idle"}) {
    VmSpec result;
    result.id = "mvm-" + lab_ + "-" + node;
    result.labels = {lab_, "job-7", node, 1};
    result.limits.memory_bytes = world_->memory();
    result.limits.shm_bytes = result.limits.tmp_bytes = 8 << 20;
    result.folder = folder_ / node;
    result.tools = std::filesystem::path(MVM_BINARY_DIR) / "tests/osvm-tools";
    result.argv = {"/opt/mvm/test-init"};
    result.argv.insert(result.argv.end(), words.begin(), words.end());
    made_.push_back(result.id);
    return result;
  }

  std::string console(const std::string& id) {
    auto piece = hypervisor_->console(id, 0, 1 << 20);
    return piece ? piece->bytes : "console: " + piece.error().describe();
  }
  testing::AssertionResult says(const std::string& id, const std::string& words) {
    if (wait_until([&] { return console(id).find(words) != std::string::npos; }))
      return testing::AssertionSuccess();
    return testing::AssertionFailure() << "no '" << words << "' on the console of " << id << ":\n"
                                       << console(id);
  }
  bool lists(const std::string& id) {
    auto vms = hypervisor_->list();
    EXPECT_TRUE(vms) << vms.error().describe();
    for (const VmInfo& info : *vms)
      if (info.id == id) return true;
    return false;
  }

  World* world_ = nullptr;
  std::filesystem::path folder_;
  const std::string lab_ = "t" + random_hex(3);
  std::unique_ptr<Hypervisor> hypervisor_;
  Events events_;
  std::vector<std::string> made_;
};

#define MVM_CREATED(variable, specification)                \
  const auto variable = hypervisor_->create(specification); \
  ASSERT_TRUE(variable) << variable.error().describe()

TEST_P(HypervisorContract, CreatesListsFindsDestroys) {
  const VmSpec vm = spec("one");
  MVM_CREATED(made, vm);
  EXPECT_EQ(made->id, vm.id);
  EXPECT_EQ(made->driver, hypervisor_->driver());
  EXPECT_TRUE(lists(vm.id));
  const auto found = hypervisor_->find(vm.id);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(found->state, VmState::kRunning);
  EXPECT_EQ(found->labels.lab, lab_);
  EXPECT_EQ(found->labels.job, "job-7");
  EXPECT_EQ(found->labels.node, "one");
  EXPECT_EQ(found->labels.attempt, 1u);
  EXPECT_EQ(found->folder, vm.folder);
  EXPECT_TRUE(says(vm.id, "idle in pid"));

  ASSERT_TRUE(hypervisor_->destroy(vm.id));
  EXPECT_FALSE(lists(vm.id));
  const auto gone = hypervisor_->find(vm.id);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(world_->anything_left(*found));
  EXPECT_TRUE(hypervisor_->destroy(vm.id)) << "destroying twice is no error";
  EXPECT_NE(console(vm.id).find("idle in pid"), std::string::npos) << "the console outlives the VM";
}

TEST_P(HypervisorContract, CreatingTwiceAdopts) {
  const VmSpec vm = spec("twin");
  MVM_CREATED(first, vm);
  EXPECT_TRUE(says(vm.id, "idle in pid"));
  const auto second = hypervisor_->create(vm);
  ASSERT_TRUE(second) << second.error().describe();
  const auto vms = hypervisor_->list();
  ASSERT_TRUE(vms);
  EXPECT_EQ(std::count_if(vms->begin(), vms->end(), [&](const VmInfo& info) { return info.id == vm.id; }), 1);

  VmSpec other = vm;
  other.labels.attempt = 2;
  const auto refused = hypervisor_->create(other);
  ASSERT_FALSE(refused) << "the id is another attempt's";
  EXPECT_EQ(refused.error().code(), ErrorCode::kConflict);
  EXPECT_TRUE(hypervisor_->find(vm.id)) << "the refusal must not harm the first";
}

TEST_P(HypervisorContract, RefusesWhatIsNotClean) {
  VmSpec vm = spec("bad");
  vm.id = "../../etc";
  auto refused = hypervisor_->create(vm);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  vm = spec("bad");
  vm.labels.lab = "<lab/>";
  refused = hypervisor_->create(vm);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  made_.clear();
}

TEST_P(HypervisorContract, ArgumentsArriveAsTheyAre) {
  if (!world_->runs_programs()) GTEST_SKIP() << "plays programs only";
  VmSpec vm = spec("quote", {"idle", "a b", "$(reboot)", "'\"<&>;*", "--x=\\n"});
  vm.argv[0] = "/bin/sh";
  vm.argv.insert(vm.argv.begin() + 1, {"-c", "printf '[%s]' \"$@\"; echo; exec sleep 1000"});
  MVM_CREATED(made, vm);
  EXPECT_TRUE(says(vm.id, "[a b][$(reboot)]['\"<&>;*][--x=\\n]"));
}

TEST_P(HypervisorContract, AdoptsAfterRestart) {
  const VmSpec vm = spec("stay");
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  hypervisor_->on_event({});
  hypervisor_.reset();

  hypervisor_ = world_->open();
  Events later;
  later.listen(*hypervisor_);
  const auto found = hypervisor_->find(vm.id);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(found->labels.node, "stay");
  EXPECT_EQ(found->folder, vm.folder);
  EXPECT_TRUE(lists(vm.id));
  const auto adopted = hypervisor_->create(vm);
  ASSERT_TRUE(adopted) << adopted.error().describe();
  EXPECT_NE(console(vm.id).find("idle in pid"), std::string::npos);
  world_->kill_guest(*found);
  EXPECT_TRUE(later.wait_for(VmEvent::Kind::kStopped, vm.id)) << "death of an adopted VM";
  hypervisor_->on_event({});
}

TEST_P(HypervisorContract, ConsoleIsReadByCursor) {
  const VmSpec vm = spec("talk");
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  const std::string all = console(vm.id);
  const auto start = static_cast<std::uint64_t>(all.find("idle"));
  const auto first = hypervisor_->console(vm.id, start, 4);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->bytes, "idle");
  EXPECT_EQ(first->next, start + 4);
  const auto second = hypervisor_->console(vm.id, first->next, 7);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->bytes, " in pid");
  const auto end = hypervisor_->console(vm.id, 1 << 30, 10);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->bytes, "");
}

TEST_P(HypervisorContract, DeathIsToldOnce) {
  const VmSpec vm = spec("mortal");
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  const auto found = hypervisor_->find(vm.id);
  ASSERT_TRUE(found);
  world_->kill_guest(*found);
  ASSERT_TRUE(events_.wait_for(VmEvent::Kind::kStopped, vm.id));
  EXPECT_TRUE(wait_until([&] { return !lists(vm.id); }));
  EXPECT_FALSE(hypervisor_->find(vm.id));
  EXPECT_TRUE(hypervisor_->destroy(vm.id));
  EXPECT_EQ(events_.count_of(VmEvent::Kind::kStopped, vm.id), 1);
}

TEST_P(HypervisorContract, AProgramsEndIsAVmsEnd) {
  const VmSpec vm = spec("brief", {"end", "3"});
  MVM_CREATED(made, vm);
  EXPECT_TRUE(events_.wait_for(VmEvent::Kind::kStopped, vm.id));
  EXPECT_NE(console(vm.id).find("ending"), std::string::npos);
  MVM_CREATED(again, vm);  // the id is free again
  EXPECT_TRUE(wait_until([&] { return events_.count_of(VmEvent::Kind::kStopped, vm.id) == 2; }));
}

TEST_P(HypervisorContract, SuspendsAndResumes) {
  Suspendable* suspendable = hypervisor_->suspendable();
  if (suspendable == nullptr) GTEST_SKIP() << "this driver cannot suspend";
  const VmSpec vm = spec("sleeper", {"spin"});
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  ASSERT_TRUE(suspendable->suspend(vm.id));
  ASSERT_TRUE(suspendable->suspend(vm.id)) << "suspending twice is no error";
  EXPECT_EQ(hypervisor_->find(vm.id)->state, VmState::kSuspended);
  EXPECT_TRUE(lists(vm.id)) << "suspended is not dead";
  EXPECT_TRUE(events_.wait_for(VmEvent::Kind::kSuspended, vm.id));
  ASSERT_TRUE(suspendable->resume(vm.id));
  ASSERT_TRUE(suspendable->resume(vm.id)) << "resuming twice is no error";
  EXPECT_EQ(hypervisor_->find(vm.id)->state, VmState::kRunning);
  EXPECT_TRUE(events_.wait_for(VmEvent::Kind::kResumed, vm.id));
  const auto before = hypervisor_->stats(vm.id);
  ASSERT_TRUE(before) << before.error().describe();
  EXPECT_TRUE(wait_until([&] { return hypervisor_->stats(vm.id)->cpu_ns > before->cpu_ns; }))
      << "it runs again";
}

TEST_P(HypervisorContract, MemoryLimitKills) {
  if (!world_->limits()) GTEST_SKIP() << "this driver limits nothing";
  const VmSpec small = spec("small", {"memory", "16"});
  const VmSpec greedy = spec("greedy", {"memory", std::to_string((world_->memory() >> 20) + 64)});
  MVM_CREATED(first, small);
  MVM_CREATED(second, greedy);
  EXPECT_TRUE(says(small.id, "memory: granted"));
  EXPECT_TRUE(says(greedy.id, "memory: killed"));
  EXPECT_TRUE(hypervisor_->find(greedy.id)) << "the VM outlives its greedy process";
}

TEST_P(HypervisorContract, ProcessorQuotaHolds) {
  if (!world_->limits()) GTEST_SKIP() << "this driver limits nothing";
  VmSpec vm = spec("busy", {"spin"});
  vm.limits.cpu_quota = 0.2;
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  // By accounting: over any stretch of time it gets a fifth of a processor, however loaded the machine is.
  const auto start = std::chrono::steady_clock::now();
  const auto before = hypervisor_->stats(vm.id);
  ASSERT_TRUE(before);
  ASSERT_TRUE(wait_until([&] { return hypervisor_->stats(vm.id)->cpu_ns > before->cpu_ns + 200'000'000; }));
  const auto used = hypervisor_->stats(vm.id)->cpu_ns - before->cpu_ns;
  const std::chrono::nanoseconds passed = std::chrono::steady_clock::now() - start;
  EXPECT_LT(static_cast<double>(used), 0.3 * static_cast<double>(passed.count()) + 50e6);
}

TEST_P(HypervisorContract, ProcessLimitHolds) {
  if (!world_->limits()) GTEST_SKIP() << "this driver limits nothing";
  VmSpec vm = spec("rabbit", {"forks", "500"});
  vm.limits.pids = 64;
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "forks: "));
  const std::string text = console(vm.id);
  const int made_children = std::stoi(text.substr(text.find("forks: ") + 7));
  EXPECT_LE(made_children, 64);
  EXPECT_GT(made_children, 10);
}

TEST_P(HypervisorContract, ShowsTheGuestItsOwnWorld) {
  if (!world_->isolates()) GTEST_SKIP() << "this driver isolates nothing";
  VmSpec vm = spec("world", {"look"});
  vm.environment = {{"COLOUR", "green & <blue>"}};
  std::filesystem::create_directories(folder_ / "shared");
  std::ofstream(folder_ / "shared/bound") << "from outside";
  vm.binds.push_back({folder_ / "shared", "/data", true});
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "looked"));
  const std::string text = console(vm.id);
  EXPECT_NE(text.find("uid=0 host=world colour=green & <blue>"), std::string::npos) << text;
  EXPECT_NE(text.find("shadow=absent"), std::string::npos) << text;
  EXPECT_NE(text.find("usr=read-only"), std::string::npos) << text;
  EXPECT_NE(text.find("work=writable"), std::string::npos) << text;
  EXPECT_NE(text.find("bound=from outside"), std::string::npos) << text;
  if (hypervisor_->driver() == Driver::kQemu) {
    EXPECT_NE(text.find("port=there"), std::string::npos) << text;
    EXPECT_TRUE(std::filesystem::is_socket(channel_socket(vm.folder)));
  }
  EXPECT_FALSE(std::filesystem::remove("/usr/mvm-test")) << "the guest wrote into the host's /usr";
  const auto inside = read_file(work_folder(vm.folder) / "made-inside", 100);
  ASSERT_TRUE(inside) << inside.error().describe();
  EXPECT_EQ(*inside, "inside");
}

TEST_P(HypervisorContract, DestroyLeavesNothing) {
  const VmSpec vm = spec("mule", {"stubborn"});
  MVM_CREATED(made, vm);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  const auto found = hypervisor_->find(vm.id);
  ASSERT_TRUE(found);
  ASSERT_TRUE(hypervisor_->destroy(vm.id));
  EXPECT_FALSE(world_->anything_left(*found));
  EXPECT_FALSE(std::filesystem::exists(vm.folder / "root"));
}

TEST_P(HypervisorContract, MakesFourAtOnce) {
  std::vector<VmSpec> specs;
  for (const char* node : {"a", "b", "c", "d"}) specs.push_back(spec(node));
  std::vector<std::string> problems(specs.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < specs.size(); ++i)
    threads.emplace_back([&, i] {
      auto made = hypervisor_->create(specs[i]);
      if (!made) problems[i] = made.error().describe();
    });
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(problems[i], "");
    EXPECT_TRUE(says(specs[i].id, "idle in pid"));
  }
  threads.clear();
  for (std::size_t i = 0; i < specs.size(); ++i)
    threads.emplace_back([&, i] {
      auto gone = hypervisor_->destroy(specs[i].id);
      if (!gone) problems[i] = gone.error().describe();
    });
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(problems[i], "");
    EXPECT_FALSE(lists(specs[i].id));
  }
}

TEST_P(HypervisorContract, OneIdFromFourThreadsIsOneVm) {
  const VmSpec vm = spec("same");
  std::vector<std::string> problems(4);
  std::vector<std::thread> threads;
  for (std::string& problem : problems)
    threads.emplace_back([&] {
      auto made = hypervisor_->create(vm);
      if (!made) problem = made.error().describe();
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& problem : problems) EXPECT_EQ(problem, "");
  EXPECT_TRUE(says(vm.id, "idle in pid"));
  const std::string text = console(vm.id);
  EXPECT_EQ(text.find("idle in pid"), text.rfind("idle in pid")) << "started more than once";
}

TEST_P(HypervisorContract, MakesAndRemovesNetworks) {
  NetworkProvider* networks = hypervisor_->networks();
  if (networks == nullptr) GTEST_SKIP() << "this driver has no networks";
  // Subnets and names of this process's own, so that test programs may run side by side.
  const auto third = std::to_string(::getpid() % 250);
  const NetworkSpec network{"mn" + lab_, lab_, "10.213." + third + ".0/24", "10.213." + third + ".1"};
  ASSERT_TRUE(networks->ensure_network(network)) << networks->ensure_network(network).error().describe();
  EXPECT_TRUE(networks->ensure_network(network)) << "making it twice is no error";
  NetworkSpec other = network;
  other.lab = "another";
  const auto refused = networks->ensure_network(other);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kConflict);
  const auto is_listed = [&] {
    const auto all = networks->list_networks();
    EXPECT_TRUE(all) << all.error().describe();
    for (const NetworkSpec& item : *all)
      if (item.name == network.name)
        return item.lab == lab_ && item.subnet == network.subnet && item.host_address == network.host_address;
    return false;
  };
  EXPECT_TRUE(is_listed());
  if (world_->runs_programs()) {
    EXPECT_TRUE(std::filesystem::exists("/sys/class/net/" + network.name));
  }

  VmSpec vm = spec("netted");
  const std::string address = "10.213." + third + ".7";
  vm.network = NetworkAttachment{network.name, address, 24, "", ""};
  vm.argv = {"/bin/sh", "-c", "cat /proc/net/fib_trie; echo idle in pid $$; exec sleep 1000"};
  MVM_CREATED(made, vm);
  EXPECT_EQ(made->address, address);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  if (world_->runs_programs()) {
    EXPECT_NE(console(vm.id).find(address), std::string::npos) << console(vm.id);
  }
  ASSERT_TRUE(hypervisor_->destroy(vm.id));
  ASSERT_TRUE(networks->remove_network(network.name));
  EXPECT_TRUE(networks->remove_network(network.name)) << "removing it twice is no error";

  if (world_->runs_programs()) {
    // A libvirtd that dies while it makes a network leaves a bridge that it knows nothing of.
    const auto run = [](std::vector<std::string> words) {
      SpawnOptions options;
      options.argv = std::move(words);
      const auto said = run_captured(std::move(options), std::chrono::seconds(30));
      EXPECT_TRUE(said && said->status.success());
      return said ? said->output : std::string();
    };
    const auto leave_bridge = [&] {
      run({"/usr/sbin/ip", "link", "add", network.name, "address", "52:54:00:01:02:03", "type", "bridge"});
      run({"/usr/sbin/iptables", "-w", "-A", "LIBVIRT_INP", "-i", network.name, "-p", "udp", "-m", "udp",
           "--dport", "53", "-j", "ACCEPT"});
    };
    const auto rules = [&] { return run({"/usr/sbin/iptables", "-w", "-S"}); };
    leave_bridge();
    EXPECT_NE(rules().find(network.name), std::string::npos);
    EXPECT_TRUE(networks->remove_network(network.name));
    EXPECT_EQ(rules().find(network.name), std::string::npos) << "the firewall's rules go with it";
    EXPECT_FALSE(std::filesystem::exists("/sys/class/net/" + network.name));
    leave_bridge();
    EXPECT_TRUE(networks->ensure_network(network));
    ASSERT_TRUE(networks->remove_network(network.name));
    EXPECT_EQ(rules().find(network.name), std::string::npos);
  }
  EXPECT_FALSE(is_listed());
  EXPECT_FALSE(std::filesystem::exists("/sys/class/net/" + network.name));
}

TEST_P(HypervisorContract, LossOfTheDaemonIsToldAndMended) {
  const VmSpec vm = spec("survivor");
  const VmSpec brief = spec("victim");
  MVM_CREATED(made, vm);
  MVM_CREATED(second, brief);
  ASSERT_TRUE(says(vm.id, "idle in pid"));
  ASSERT_TRUE(says(brief.id, "idle in pid"));
  const auto victim = hypervisor_->find(brief.id);
  ASSERT_TRUE(victim);
  if (!world_->kill_daemon()) GTEST_SKIP() << "this driver has no daemon";
  EXPECT_TRUE(events_.wait_for(VmEvent::Kind::kConnectionLost, ""));
  EXPECT_TRUE(wait_until([&] {
    const auto refused = hypervisor_->list();
    return !refused && refused.error().code() == ErrorCode::kUnavailable;
  }));
  EXPECT_EQ(events_.count_of(VmEvent::Kind::kStopped, vm.id), 0) << "losing the daemon is not losing the VM";
  world_->kill_guest(*victim);  // dies while nobody watches
  world_->start_daemon();
  EXPECT_TRUE(events_.wait_for(VmEvent::Kind::kConnectionRestored, ""));
  EXPECT_TRUE(events_.wait_for(VmEvent::Kind::kStopped, brief.id)) << "its death is told after all";
  EXPECT_TRUE(lists(vm.id)) << "the other lives on";
  EXPECT_EQ(events_.count_of(VmEvent::Kind::kStopped, vm.id), 0);
  ASSERT_TRUE(hypervisor_->destroy(brief.id));
  EXPECT_FALSE(world_->anything_left(*victim));
  MVM_CREATED(again, brief);  // and its id is free
  ASSERT_TRUE(hypervisor_->destroy(vm.id));
  EXPECT_TRUE(events_.wait_for(VmEvent::Kind::kStopped, vm.id)) << "events work over the new connection";
}

}  // namespace mvm::osvm::contract
