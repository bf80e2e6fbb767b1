// Labs of a host: network, lab child, folders; made, adopted, reaped.

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <future>
#include <set>

#include "agent_state.h"
#include "lab_region.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/queuevm/mq/mq_streams.h"
#include "names.h"

namespace mvm::host {
namespace {

/// Unprivileged user of lab children where the daemon is root: nobody.
constexpr unsigned kChildUser = 65534;
constexpr std::chrono::seconds kHypervisorPatience{5};

/// Opens a lab child to others, as its links need it: by shared memory, by TLS, with what it proves itself
/// with, or without.
Status open_to_others(LabChildClient& child, const Lab& lab, const std::filesystem::path& shared_memory) {
  if (lab.spec.seats > 0 && child.region_port() == 0) {
    MVM_ASSIGN(const UniqueFd region, open_region(region_file(shared_memory, lab.spec.lab)));
    MVM_TRY(child.share(region));
  }
  if (!lab.identity.certificate.empty()) MVM_TRY(child.identify(lab.identity));
  return lab.plain_links ? child.listen_plainly() : ok();
}

}  // namespace

Result<std::shared_ptr<Lab>> LocalHostAgent::State::find_lab(const std::string& lab) {
  const std::lock_guard lock(mutex);
  const auto found = labs.find(lab);
  if (found == labs.end())
    return Error(ErrorCode::kNotFound, "lab " + lab + " is not on host " + config.name);
  return found->second;
}

Status LocalHostAgent::State::open_network(Lab& lab) {
  osvm::NetworkProvider* provider = networks();
  if (provider == nullptr || lab.spec.subnet.empty()) return ok();
  MVM_ASSIGN(const std::string address, bridge_address(lab.spec.subnet));
  {
    const std::lock_guard lock(lab.mutex);
    if (!lab.bridge.empty()) return ok();
  }
  MVM_TRY(provider->ensure_network({.name = network_name(lab.spec.lab),
                                    .lab = lab.spec.lab,
                                    .subnet = lab.spec.subnet,
                                    .host_address = address}));
  const std::lock_guard lock(lab.mutex);
  lab.bridge = address;
  return ok();
}

Status LocalHostAgent::State::open_child(Lab& lab) {
  if (!lab.proxy) return ok();
  std::shared_ptr<LabChildClient> present;
  {
    const std::lock_guard lock(lab.mutex);
    present = lab.child;
  }
  if (present && present->alive()) return open_to_others(*present, lab, config.shared_memory);
  auto child = LabChildClient::adopt(lab.folder);
  if (!child)
    child = LabChildClient::start(config.program, {.lab = lab.spec.lab,
                                                   .domain = "host:" + config.name,
                                                   .folder = lab.folder,
                                                   .bridge_address = lab.bridge,
                                                   .advertise = config.advertise,
                                                   .user = ::geteuid() == 0 ? kChildUser : 0});
  if (!child) return std::move(child).error();
  MVM_TRY(open_to_others(**child, lab, config.shared_memory));
  {
    const std::lock_guard lock(lab.mutex);
    lab.child = std::move(*child);
  }
  ::eventfd_write(watch_changed.get(), 1);
  return ok();
}

Result<LabInfo> LocalHostAgent::ensure_lab(const LabSpec& spec) {
  MVM_TRY(check(spec));
  std::shared_ptr<Lab> lab;
  {
    const std::lock_guard lock(state_->mutex);
    auto& entry = state_->labs[spec.lab];
    if (!entry) {
      LabSpec kept = spec;
      kept.identity = {};
      entry = std::make_shared<Lab>(std::move(kept), state_->config.state / "labs" / spec.lab);
    }
    lab = entry;
  }
  const std::lock_guard work(lab->work);
  if (lab->closing) return Error(ErrorCode::kConflict, "lab " + spec.lab + " is being destroyed");
  if (lab->spec.secret != spec.secret || lab->spec.subnet != spec.subnet)
    return Error(ErrorCode::kConflict, "lab " + spec.lab + " exists on host " + state_->config.name +
                                           " with another secret or subnet");
  if (!spec.identity.certificate.empty()) lab->identity = spec.identity;
  lab->proxy = lab->proxy || spec.proxy;  // links that leave the domain may come later
  lab->plain_links = lab->plain_links || spec.plain_links;
  MVM_TRY(write_record(*lab));
  if (lab->spec.seats > 0)
    MVM_TRY(
        make_region(region_file(state_->config.shared_memory, spec.lab), plan_region(lab->spec.seats).bytes));
  MVM_TRY(state_->open_network(*lab));
  MVM_TRY(state_->open_child(*lab));
  const std::lock_guard lock(lab->mutex);
  LabInfo info;
  info.proxy_address = state_->config.advertise;
  info.proxy_port = lab->child ? lab->child->secure_port() : std::uint16_t{0};
  info.plain_port = lab->child ? lab->child->plain_port() : std::uint16_t{0};
  info.bridge_port = lab->child ? lab->child->port() : std::uint16_t{0};
  info.region_port = lab->child ? lab->child->region_port() : std::uint16_t{0};
  return info;
}

Status LocalHostAgent::State::close_lab(const std::shared_ptr<Lab>& lab) {
  std::map<std::string, std::shared_ptr<Node>> nodes;
  {
    const std::lock_guard lock(lab->mutex);
    lab->closing = true;
    nodes = lab->nodes;
  }
  // What is under way with them ends now, and gives the lab's lock back.
  for (auto& [name, node] : nodes) forsake(*node);
  const std::lock_guard work(lab->work);
  // Nodes go in parallel: each may take a hypervisor's grace period.
  std::vector<std::future<Status>> endings;
  for (auto& [name, node] : nodes)
    endings.push_back(
        std::async(std::launch::async, [this, &lab, mine = node] { return close_node(*lab, *mine); }));
  Status first = ok();
  for (auto& ending : endings)
    if (Status ended = ending.get(); !ended && first) first = std::move(ended);
  MVM_TRY(std::move(first));
  std::shared_ptr<LabChildClient> child;
  {
    const std::lock_guard lock(lab->mutex);
    child = std::move(lab->child);
  }
  if (!child) {
    if (auto left = LabChildClient::adopt(lab->folder)) child = std::move(*left);
  }
  if (child) child->stop();
  queuevm::mq::sweep(lab->spec.secret);  // it may have been killed
  if (osvm::NetworkProvider* provider = networks(); provider != nullptr && !lab->spec.subnet.empty())
    MVM_TRY(provider->remove_network(network_name(lab->spec.lab)));
  MVM_TRY(remove_tree(region_file(config.shared_memory, lab->spec.lab)));
  MVM_TRY(remove_tree(ring_folder(*lab)));
  MVM_TRY(remove_tree(lab->folder));
  const std::lock_guard lock(mutex);
  labs.erase(lab->spec.lab);
  return ok();
}

Status LocalHostAgent::destroy_lab(const std::string& name) {
  MVM_TRY(check_id("lab", name, 32));
  auto lab = state_->find_lab(name);
  if (!lab) return ok();
  return state_->close_lab(*lab);
}

void LocalHostAgent::State::tell_child_lost(const Lab& lab, std::uint16_t port) {
  mvm::log::warning("lab.child_lost", {{"lab", lab.spec.lab}});
  log.add(
      {.lab = lab.spec.lab,
       .event = "lab.child",
       .args = {{"lost", true}, {"port", port}, {"reason", "the lab's proxy process ended unexpectedly"}}});
}

/// Runs until the agent goes: a lab child that ends by itself is news for the broker, and so is a VM.
void LocalHostAgent::State::watch() {
  while (!stopping) {
    std::vector<std::shared_ptr<Lab>> owners;
    std::vector<std::shared_ptr<LabChildClient>> children;
    std::vector<pollfd> items{{watch_changed.get(), POLLIN, 0}};
    {
      const std::lock_guard lock(mutex);
      for (auto& [name, lab] : labs) {
        const std::lock_guard inner(lab->mutex);
        if (!lab->child) continue;
        owners.push_back(lab);
        children.push_back(lab->child);
        items.push_back({lab->child->pidfd(), POLLIN, 0});
        items.push_back({lab->child->events_fd(), POLLIN, 0});
      }
    }
    if (::poll(items.data(), items.size(), -1) < 0) continue;
    eventfd_t ignored = 0;
    if (items[0].revents != 0) ::eventfd_read(watch_changed.get(), &ignored);
    handle_vm_events();
    for (std::size_t i = 0; i < children.size(); ++i) {
      if (items[2 * i + 2].revents != 0) take_child_event(*owners[i], *children[i]);
      if (items[2 * i + 1].revents == 0) continue;
      {
        const std::lock_guard lock(owners[i]->mutex);
        if (owners[i]->child == children[i]) owners[i]->child.reset();
        if (owners[i]->closing) continue;
      }
      tell_child_lost(*owners[i], children[i]->port());
    }
  }
}

/// A lab child said something: it goes to the broker as it is.
void LocalHostAgent::State::take_child_event(const Lab& lab, LabChildClient& child) {
  auto event = child.next_event();
  if (!event) return;
  event->lab = lab.spec.lab;
  mvm::log::warning(event->event, {{"lab", event->lab}, {"args", event->args.dump()}});
  log.add(std::move(*event));
}

/// A hypervisor that is still being connected cannot say whether its VMs live: give it a moment.
void LocalHostAgent::State::await_hypervisors(const std::vector<std::shared_ptr<Lab>>& found) {
  std::set<std::string> drivers;
  for (const auto& lab : found)
    for (const auto& [name, node] : lab->nodes) drivers.insert(node->spec.driver);
  const auto deadline = clock.now() + kHypervisorPatience;
  for (const std::string& driver : drivers) {
    osvm::Hypervisor* wanted = hypervisor(driver);
    while (wanted != nullptr && clock.now() < deadline) {
      auto listed = wanted->list();
      if (listed || listed.error().code() != ErrorCode::kUnavailable) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

Status LocalHostAgent::recover() {
  std::vector<std::filesystem::path> broken;
  const auto found = read_records(state_->config.state / "labs", broken);
  for (const std::filesystem::path& path : broken) {
    mvm::log::warning("host.broken_record", {{"path", path.string()}});
    MVM_TRY(remove_tree(path));
  }
  state_->await_hypervisors(found);
  for (const std::shared_ptr<Lab>& lab : found) {
    {
      const std::lock_guard lock(state_->mutex);
      state_->labs[lab->spec.lab] = lab;
    }
    if (auto child = LabChildClient::adopt(lab->folder))
      lab->child = std::move(*child);
    else if (LabChildClient::was_started(lab->folder))
      state_->tell_child_lost(*lab, 0);
    if (auto opened = state_->open_network(*lab); !opened)
      mvm::log::warning("lab.network", {{"lab", lab->spec.lab}, {"why", opened.error().describe()}});
    for (const auto& [name, node] : lab->nodes) {
      osvm::Hypervisor* driver = state_->hypervisor(node->spec.driver);
      auto vm = driver != nullptr
                    ? driver->find(vm_id(lab->spec.lab, name))
                    : Result<osvm::VmInfo>(Error(ErrorCode::kNotFound, "its driver is not configured"));
      if (!vm && vm.error().code() == ErrorCode::kNotFound) {
        state_->mark_lost(lab->spec.lab, *node, "it was gone when the host daemon came back");
        continue;
      }
      MVM_TRY(state_->open_channel(lab, node));
      mvm::log::info("node.adopted", {{"lab", lab->spec.lab}, {"node", name}});
    }
  }
  ::eventfd_write(state_->watch_changed.get(), 1);
  return state_->reap_strangers();
}

/// VMs in folders of ours that are on no record. Networks and rings need no such search: their lab's record
/// is written before they are made and removed after they are gone.
Status LocalHostAgent::State::reap_strangers() {
  const std::string ours = (config.state / "labs").string() + "/";
  for (const auto& hypervisor : hypervisors) {
    auto vms = hypervisor->list();
    if (!vms) continue;  // unreachable now: looked at again when it is back
    for (const osvm::VmInfo& vm : *vms) {
      if (!vm.folder.string().starts_with(ours) || find_node(vm.labels.lab, vm.labels.node)) continue;
      mvm::log::warning("host.reaped_vm", {{"vm", vm.id}});
      MVM_TRY(hypervisor->destroy(vm.id));
    }
  }
  return ok();
}

}  // namespace mvm::host
