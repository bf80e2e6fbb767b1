#pragma once
// A hypervisor that only plays: it passes the same contract as the real ones (tests/osvm/fake_test.cpp), and
// lets a test make guests die, calls fail and the connection break.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "mvm/osvm/hypervisor.h"
#include "mvm/osvm/vm_roster.h"

namespace mvm::fakes {

class FakeHypervisor;

/// The machine behind FakeHypervisor objects: what survives a daemon's restart. Thread-safe.
class FakeMachine {
 public:
  explicit FakeMachine(osvm::Driver driver = osvm::Driver::kLxc) : driver_(driver) {}

  /// What the first program of a VM does at once: returns its console output, and true where it ends.
  using Play = std::function<std::pair<std::string, bool>(const osvm::VmSpec&)>;
  void set_play(Play play);
  /// The VM dies as if it crashed.
  void kill(const std::string& id);
  /// Appends to a VM's console.
  void print(const std::string& id, const std::string& text);
  /// The next create() of this id fails so; empty id: of any.
  void fail_next_create(const std::string& id, Error error);
  /// Breaks the connection: calls answer kUnavailable; VMs live on.
  void disconnect();
  void reconnect();
  /// The specification a living VM was made from; nothing where there is none.
  [[nodiscard]] std::optional<osvm::VmSpec> spec_of(const std::string& id) const;
  [[nodiscard]] std::size_t running() const;

 private:
  friend class FakeHypervisor;
  struct Vm {
    osvm::VmSpec spec;
    osvm::VmState state = osvm::VmState::kRunning;
    std::uint64_t cpu_ns = 0;
  };
  void each_listener(const std::function<void(FakeHypervisor&)>& visit);
  void end(const std::string& id, const std::string& why);

  const osvm::Driver driver_;
  mutable std::mutex mutex_;
  bool connected_ = true;
  Play play_;
  std::map<std::string, Vm> vms_;
  std::map<std::string, std::string> consoles_;
  std::map<std::string, osvm::NetworkSpec> networks_;
  std::vector<std::pair<std::string, Error>> failures_;
  std::recursive_mutex listeners_mutex_;  // held while events are delivered
  std::set<FakeHypervisor*> listeners_;
};

/// One daemon's view of a FakeMachine, which must outlive it.
class FakeHypervisor final : public osvm::Hypervisor, public osvm::Suspendable, public osvm::NetworkProvider {
 public:
  explicit FakeHypervisor(FakeMachine& machine);
  ~FakeHypervisor() override;

  osvm::Driver driver() const override { return machine_.driver_; }
  osvm::DriverStatus probe() override;
  Result<osvm::VmInfo> create(const osvm::VmSpec& spec) override;
  Status destroy(const std::string& id) override;
  Result<std::vector<osvm::VmInfo>> list() override;
  Result<osvm::VmInfo> find(const std::string& id) override;
  Result<osvm::VmStats> stats(const std::string& id) override;
  Result<osvm::ConsolePiece> console(const std::string& id, std::uint64_t cursor, std::size_t limit) override;
  void on_event(EventHandler handler) override { roster_.set_handler(std::move(handler)); }
  osvm::Suspendable* suspendable() override { return this; }
  osvm::NetworkProvider* networks() override { return this; }
  Status suspend(const std::string& id) override;
  Status resume(const std::string& id) override;
  Status ensure_network(const osvm::NetworkSpec& spec) override;
  Status remove_network(const std::string& name) override;
  Result<std::vector<osvm::NetworkSpec>> list_networks() override;

 private:
  friend class FakeMachine;
  Status check_connected() const;
  Status set_state(const std::string& id, osvm::VmState state, osvm::VmEvent::Kind kind);
  osvm::VmInfo info_of(const FakeMachine::Vm& vm) const;

  FakeMachine& machine_;
  osvm::VmRoster roster_;
  osvm::IdGate gate_;
};

}  // namespace mvm::fakes
