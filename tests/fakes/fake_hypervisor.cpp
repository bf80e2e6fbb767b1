#include "fakes/fake_hypervisor.h"

#include <unistd.h>

#include <algorithm>

#include "mvm/osvm/root_tree.h"

namespace mvm::fakes {

using osvm::VmEvent;
using osvm::VmInfo;
using osvm::VmState;

void FakeMachine::set_play(Play play) {
  const std::lock_guard lock(mutex_);
  play_ = std::move(play);
}

void FakeMachine::each_listener(const std::function<void(FakeHypervisor&)>& visit) {
  const std::lock_guard lock(listeners_mutex_);
  for (FakeHypervisor* listener : std::set(listeners_)) visit(*listener);
}

void FakeMachine::end(const std::string& id, const std::string& why) {
  bool connected = false;
  {
    const std::lock_guard lock(mutex_);
    if (vms_.erase(id) == 0) return;
    connected = connected_;
  }
  if (connected) each_listener([&](FakeHypervisor& listener) { listener.roster_.ended(id, why); });
}

void FakeMachine::kill(const std::string& id) { end(id, "crashed"); }

void FakeMachine::print(const std::string& id, const std::string& text) {
  const std::lock_guard lock(mutex_);
  consoles_[id] += text;
}

void FakeMachine::fail_next_create(const std::string& id, Error error) {
  const std::lock_guard lock(mutex_);
  failures_.emplace_back(id, std::move(error));
}

void FakeMachine::disconnect() {
  {
    const std::lock_guard lock(mutex_);
    connected_ = false;
  }
  each_listener([](FakeHypervisor& listener) {
    listener.roster_.emit({VmEvent::Kind::kConnectionLost, "", "disconnected by the test"});
  });
}

void FakeMachine::reconnect() {
  {
    const std::lock_guard lock(mutex_);
    connected_ = true;
  }
  each_listener([](FakeHypervisor& listener) {
    listener.roster_.emit({VmEvent::Kind::kConnectionRestored, "", ""});
    if (auto vms = listener.list()) listener.roster_.reconcile(*vms);
  });
}

std::optional<osvm::VmSpec> FakeMachine::spec_of(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(id);
  if (found == vms_.end()) return std::nullopt;
  return found->second.spec;
}

std::size_t FakeMachine::running() const {
  const std::lock_guard lock(mutex_);
  return vms_.size();
}

FakeHypervisor::FakeHypervisor(FakeMachine& machine) : machine_(machine) {
  if (auto vms = list())
    for (const VmInfo& info : *vms) roster_.remember(info);
  const std::lock_guard lock(machine_.listeners_mutex_);
  machine_.listeners_.insert(this);
}

FakeHypervisor::~FakeHypervisor() {
  const std::lock_guard lock(machine_.listeners_mutex_);
  machine_.listeners_.erase(this);
}

Status FakeHypervisor::check_connected() const {
  const std::lock_guard lock(machine_.mutex_);
  if (machine_.connected_) return ok();
  return Error(ErrorCode::kUnavailable, "the fake hypervisor is disconnected");
}

VmInfo FakeHypervisor::info_of(const FakeMachine::Vm& vm) const {
  const osvm::VmSpec& spec = vm.spec;
  return {spec.id,         machine_.driver_,
          spec.labels,     vm.state,
          spec.folder,     spec.network ? spec.network->address : "",
          spec.image.arch, 0};
}

osvm::DriverStatus FakeHypervisor::probe() {
  osvm::DriverStatus status;
  status.driver = machine_.driver_;
  status.works = check_connected().has_value();
  status.detail = "plays";
  status.networks = true;
  return status;
}

Result<VmInfo> FakeHypervisor::create(const osvm::VmSpec& spec) {
  MVM_TRY(osvm::validate(spec));
  MVM_TRY(check_connected());
  const osvm::IdGate::Pass pass(gate_, spec.id);
  VmInfo info;
  bool ends = false;
  {
    const std::lock_guard lock(machine_.mutex_);
    if (const auto found = machine_.vms_.find(spec.id); found != machine_.vms_.end()) {
      const osvm::VmLabels& labels = found->second.spec.labels;
      if (labels.lab == spec.labels.lab && labels.job == spec.labels.job && labels.node == spec.labels.node &&
          labels.attempt == spec.labels.attempt)
        return info_of(found->second);
      return Error(ErrorCode::kConflict, "VM " + spec.id + " exists for somebody else");
    }
    const auto failure =
        std::find_if(machine_.failures_.begin(), machine_.failures_.end(),
                     [&](const auto& item) { return item.first.empty() || item.first == spec.id; });
    if (failure != machine_.failures_.end()) {
      Error error = std::move(failure->second);
      machine_.failures_.erase(failure);
      return error;
    }
    MVM_TRY(osvm::make_shared_folders(spec, ::geteuid()));
    FakeMachine::Vm& vm = machine_.vms_[spec.id];
    vm.spec = spec;
    std::string& console = machine_.consoles_[spec.id];
    console.clear();
    if (machine_.play_) std::tie(console, ends) = machine_.play_(spec);
    info = info_of(vm);
  }
  machine_.each_listener([&](FakeHypervisor& listener) { listener.roster_.remember(info); });
  if (ends) machine_.end(spec.id, "shutdown");
  return info;
}

Status FakeHypervisor::destroy(const std::string& id) {
  MVM_TRY(check_connected());
  const osvm::IdGate::Pass pass(gate_, id);
  machine_.end(id, "destroyed");
  return ok();
}

Result<std::vector<VmInfo>> FakeHypervisor::list() {
  MVM_TRY(check_connected());
  const std::lock_guard lock(machine_.mutex_);
  std::vector<VmInfo> result;
  for (const auto& [id, vm] : machine_.vms_) result.push_back(info_of(vm));
  return result;
}

Result<VmInfo> FakeHypervisor::find(const std::string& id) {
  MVM_TRY(check_connected());
  const std::lock_guard lock(machine_.mutex_);
  const auto found = machine_.vms_.find(id);
  if (found == machine_.vms_.end()) return Error(ErrorCode::kNotFound, "there is no VM " + id);
  return info_of(found->second);
}

Result<osvm::VmStats> FakeHypervisor::stats(const std::string& id) {
  MVM_TRY(check_connected());
  const std::lock_guard lock(machine_.mutex_);
  const auto found = machine_.vms_.find(id);
  if (found == machine_.vms_.end()) return Error(ErrorCode::kNotFound, "there is no VM " + id);
  if (found->second.state == VmState::kRunning) found->second.cpu_ns += 1'000'000;
  const std::uint64_t limit = found->second.spec.limits.memory_bytes;
  return osvm::VmStats{found->second.cpu_ns, limit / 4, limit};
}

Result<osvm::ConsolePiece> FakeHypervisor::console(const std::string& id, std::uint64_t cursor,
                                                   std::size_t limit) {
  const std::lock_guard lock(machine_.mutex_);
  const auto found = machine_.consoles_.find(id);
  if (found == machine_.consoles_.end()) return Error(ErrorCode::kNotFound, "there is no VM " + id);
  if (cursor >= found->second.size()) return osvm::ConsolePiece{"", cursor};
  osvm::ConsolePiece piece{found->second.substr(cursor, limit), cursor};
  piece.next += piece.bytes.size();
  return piece;
}

Status FakeHypervisor::set_state(const std::string& id, VmState state, VmEvent::Kind kind) {
  MVM_TRY(check_connected());
  {
    const std::lock_guard lock(machine_.mutex_);
    const auto found = machine_.vms_.find(id);
    if (found == machine_.vms_.end()) return Error(ErrorCode::kNotFound, "there is no VM " + id);
    if (found->second.state == state) return ok();
    found->second.state = state;
  }
  machine_.each_listener([&](FakeHypervisor& listener) { listener.roster_.emit({kind, id, ""}); });
  return ok();
}

Status FakeHypervisor::suspend(const std::string& id) {
  return set_state(id, VmState::kSuspended, VmEvent::Kind::kSuspended);
}

Status FakeHypervisor::resume(const std::string& id) {
  return set_state(id, VmState::kRunning, VmEvent::Kind::kResumed);
}

Status FakeHypervisor::ensure_network(const osvm::NetworkSpec& spec) {
  MVM_TRY(osvm::validate(spec));
  MVM_TRY(check_connected());
  const std::lock_guard lock(machine_.mutex_);
  const auto [found, made] = machine_.networks_.emplace(spec.name, spec);
  if (made || (found->second.lab == spec.lab && found->second.subnet == spec.subnet)) return ok();
  return Error(ErrorCode::kConflict, "network " + spec.name + " belongs to lab " + found->second.lab);
}

Status FakeHypervisor::remove_network(const std::string& name) {
  MVM_TRY(check_connected());
  const std::lock_guard lock(machine_.mutex_);
  machine_.networks_.erase(name);
  return ok();
}

Result<std::vector<osvm::NetworkSpec>> FakeHypervisor::list_networks() {
  MVM_TRY(check_connected());
  const std::lock_guard lock(machine_.mutex_);
  std::vector<osvm::NetworkSpec> result;
  for (const auto& [name, spec] : machine_.networks_) result.push_back(spec);
  return result;
}

}  // namespace mvm::fakes
