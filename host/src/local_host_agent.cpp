#include "mvm/host/local_host_agent.h"

#include <sys/eventfd.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "agent_state.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "names.h"

namespace mvm::host {
namespace {

constexpr std::uint64_t kReserved = 1ULL << 30;  // memory left to the host itself

std::uint64_t machine_memory() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string machine_architecture() {
  utsname name{};
  ::uname(&name);
  return static_cast<const char*>(name.machine);
}

std::uint64_t free_disk(const std::filesystem::path& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return 0;
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace

osvm::Hypervisor* LocalHostAgent::State::hypervisor(std::string_view driver) const {
  for (const auto& candidate : hypervisors)
    if (osvm::to_string(candidate->driver()) == driver) return candidate.get();
  return nullptr;
}

osvm::NetworkProvider* LocalHostAgent::State::networks() const {
  for (const auto& candidate : hypervisors)
    if (osvm::NetworkProvider* provider = candidate->networks()) return provider;
  return nullptr;
}

const HostImage* LocalHostAgent::State::image(std::string_view name) const {
  const auto found = std::find_if(config.images.begin(), config.images.end(),
                                  [&](const HostImage& candidate) { return candidate.info.name == name; });
  return found != config.images.end() ? &*found : nullptr;
}

LocalHostAgent::LocalHostAgent(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<LocalHostAgent>> LocalHostAgent::create(
    HostConfig config, std::vector<std::unique_ptr<osvm::Hypervisor>> hypervisors, BlobStore& blobs,
    const Clock& clock) {
  if (config.vcpus == 0)
    config.vcpus = static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  if (config.memory == 0) config.memory = std::max(machine_memory(), 2 * kReserved) - kReserved;
  // Containers' users must reach what is bound from below; they cannot list it.
  MVM_TRY(make_folders(config.state / "labs", 0711));
  auto state = std::make_shared<State>(std::move(config), blobs, clock);
  state->hypervisors = std::move(hypervisors);
  state->watch_changed.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->watch_changed) return Error::from_errno(errno, "eventfd");
  for (const auto& hypervisor : state->hypervisors) {
    const std::string driver(osvm::to_string(hypervisor->driver()));
    hypervisor->on_event([weak = std::weak_ptr<State>(state), driver](const osvm::VmEvent& event) {
      if (const auto self = weak.lock()) self->on_vm_event(event, driver);
    });
  }
  state->watcher = std::thread([self = state.get()] { self->watch(); });
  return std::unique_ptr<LocalHostAgent>(new LocalHostAgent(std::move(state)));
}

void LocalHostAgent::stop() { state_->log.close(); }

LocalHostAgent::~LocalHostAgent() {
  for (const auto& hypervisor : state_->hypervisors) hypervisor->on_event({});
  state_->log.close();
  state_->stopping = true;
  ::eventfd_write(state_->watch_changed.get(), 1);
  state_->watcher.join();
  // Channels use the state from threads of their own: they stop first.
  for (const auto& [name, lab] : state_->labs)
    for (const auto& [node_name, node] : lab->nodes) {
      std::shared_ptr<channel::HostEnd> channel;
      {
        const std::lock_guard lock(node->mutex);
        channel = std::move(node->channel);
      }
    }
}

Result<HostInfo> LocalHostAgent::describe() {
  const HostConfig& config = state_->config;
  HostInfo info{.name = config.name,
                .architecture = machine_architecture(),
                .vcpus = config.vcpus,
                .memory = config.memory,
                .disk = free_disk(config.state),
                .drivers = {},
                .images = {}};
  for (const auto& hypervisor : state_->hypervisors) {
    const osvm::DriverStatus status = hypervisor->probe();
    info.drivers.push_back({.driver = std::string(osvm::to_string(status.driver)),
                            .usable = status.works,
                            .detail = status.accelerator.empty() ? status.detail : status.accelerator});
  }
  for (const HostImage& image : config.images) info.images.push_back(image.info);
  return info;
}

Result<HostEvents> LocalHostAgent::events(const std::string& epoch, std::uint64_t seq,
                                          std::chrono::milliseconds timeout) {
  return state_->log.after(epoch, seq, timeout);
}

/// Called on a driver's thread, which must not wait: the watcher takes it from here.
void LocalHostAgent::State::on_vm_event(const osvm::VmEvent& event, const std::string& driver) {
  {
    const std::lock_guard lock(vm_events_mutex);
    vm_events.push_back({driver, event});
  }
  ::eventfd_write(watch_changed.get(), 1);
}

void LocalHostAgent::State::handle_vm_events() {
  std::vector<std::pair<std::string, osvm::VmEvent>> events;
  {
    const std::lock_guard lock(vm_events_mutex);
    events.swap(vm_events);
  }
  for (const auto& [driver, event] : events) {
    using Kind = osvm::VmEvent::Kind;
    if (event.kind == Kind::kConnectionLost || event.kind == Kind::kConnectionRestored) {
      const bool connected = event.kind == Kind::kConnectionRestored;
      mvm::log::warning("host.hypervisor", {{"driver", driver}, {"connected", connected}});
      log.add({.event = "host.hypervisor", .args = {{"driver", driver}, {"connected", connected}}});
      if (connected) look_for_lost(driver);
      continue;
    }
    const auto [lab, node] = node_of_vm(event.vm);
    if (!node) continue;
    if (event.kind == Kind::kStopped) mark_lost(lab, *node, "its VM ended (" + event.detail + ")");
  }
}

std::pair<std::string, std::shared_ptr<Node>> LocalHostAgent::State::node_of_vm(const std::string& vm) {
  const std::lock_guard lock(mutex);
  for (const auto& [name, lab] : labs) {
    const std::string prefix = "mvm-" + name + "-";
    if (!vm.starts_with(prefix)) continue;
    const std::lock_guard inner(lab->mutex);
    if (const auto found = lab->nodes.find(vm.substr(prefix.size())); found != lab->nodes.end())
      return {name, found->second};
  }
  return {};
}

/// The driver's daemon is back: nodes whose VM went meanwhile are lost.
void LocalHostAgent::State::look_for_lost(const std::string& driver) {
  osvm::Hypervisor* reached = hypervisor(driver);
  std::vector<std::pair<std::string, std::shared_ptr<Node>>> nodes;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [name, lab] : labs) {
      const std::lock_guard inner(lab->mutex);
      for (const auto& [node_name, node] : lab->nodes)
        if (node->spec.driver == driver) nodes.emplace_back(name, node);
    }
  }
  for (const auto& [lab, node] : nodes) {
    // One that is being booted has no VM yet; whoever boots it will see its fate.
    const std::unique_lock work(node->work, std::try_to_lock);
    if (!work) continue;
    auto vm = reached->find(vm_id(lab, node->spec.node));
    if (!vm && vm.error().code() == ErrorCode::kNotFound)
      mark_lost(lab, *node, "its VM went while the hypervisor's daemon was away");
  }
}

}  // namespace mvm::host
