// Nodes of a host: booted, known by their kernel's hello, lost, destroyed.

#include <unistd.h>

#include "agent_state.h"
#include "codec.h"
#include "lab_region.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "names.h"

namespace mvm::host {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kIntroduceTimeout{20};
constexpr std::size_t kConsoleTail = 2000;

/// The lab's nodes by name and address, for /etc/hosts of every node.
json hosts_of(Lab& lab) {
  json hosts = json::array();
  const std::lock_guard lock(lab.mutex);
  if (!lab.bridge.empty()) hosts.push_back({{"name", "host"}, {"address", lab.bridge}});
  for (const auto& [name, node] : lab.nodes)
    if (!node->spec.address.empty()) hosts.push_back({{"name", name}, {"address", node->spec.address}});
  return hosts;
}

/// Marks a node as being booted by a call while it lives.
class Awaiting {
 public:
  explicit Awaiting(Node& node) : node_(node) { set(true); }
  ~Awaiting() { set(false); }
  Awaiting(const Awaiting&) = delete;
  Awaiting& operator=(const Awaiting&) = delete;

 private:
  void set(bool awaited) {
    const std::lock_guard lock(node_.mutex);
    node_.awaited = awaited;
  }
  Node& node_;
};

Error lost_error(const Node& node) {
  return Error(ErrorCode::kUnavailable, "node " + node.spec.node + " is lost: " + node.lost_why);
}

std::string tail_of_console(osvm::Hypervisor& driver, const std::string& vm) {
  std::string tail;
  std::uint64_t cursor = 0;
  for (;;) {
    auto piece = driver.console(vm, cursor, 65536);
    if (!piece || piece->bytes.empty()) break;
    cursor = piece->next;
    tail += piece->bytes;
    if (tail.size() > kConsoleTail) tail.erase(0, tail.size() - kConsoleTail);
  }
  return tail.empty() ? "its console is empty" : "its console ends with: " + tail;
}

}  // namespace

Result<std::shared_ptr<Node>> LocalHostAgent::State::find_node(const std::string& lab,
                                                               const std::string& node) {
  MVM_ASSIGN(const std::shared_ptr<Lab> owner, find_lab(lab));
  const std::lock_guard lock(owner->mutex);
  const auto found = owner->nodes.find(node);
  if (found == owner->nodes.end())
    return Error(ErrorCode::kNotFound, "lab " + lab + " has no node " + node + " on host " + config.name);
  return found->second;
}

Result<std::shared_ptr<channel::HostEnd>> LocalHostAgent::State::channel_of(const std::string& lab,
                                                                            const std::string& name) {
  MVM_ASSIGN(const std::shared_ptr<Node> node, find_node(lab, name));
  const std::lock_guard lock(node->mutex);
  if (node->state == NodeState::kLost) return lost_error(*node);
  if (!node->channel) return Error(ErrorCode::kUnavailable, "node " + name + " is not booted yet");
  return node->channel;
}

Result<osvm::VmSpec> LocalHostAgent::State::vm_spec(const Lab& lab, const Node& node) const {
  const NodeSpec& wanted = node.spec;
  const HostImage* found = image(wanted.image);
  if (found == nullptr)
    return Error(ErrorCode::kNotFound, "host " + config.name + " has no image \"" + wanted.image + "\"");
  osvm::VmSpec spec;
  spec.id = vm_id(wanted.lab, wanted.node);
  spec.labels = {.lab = wanted.lab, .job = wanted.job, .node = wanted.node};
  spec.image = found->spec;
  spec.limits.vcpus = wanted.vcpus;
  if (wanted.memory != 0) spec.limits.memory_bytes = wanted.memory;
  spec.folder = node.folder;
  if (wanted.driver != "process") spec.scratch = scratch_folder(lab, node);
  spec.tools = config.node_tree;
  const bool plain = wanted.driver == "process";
  const std::string run = plain ? osvm::run_folder(node.folder).string() : "/run/mvm";
  const std::string work = plain ? osvm::work_folder(node.folder).string() : "/work";
  const std::string channel =
      wanted.driver == "qemu" ? "virtio:" + std::string(osvm::kControlPort) : "unix:" + run + "/channel.sock";
  spec.argv = {"/opt/mvm/bin/mvm-kernel",
               "--node",
               wanted.lab + "/" + wanted.node,
               "--channel",
               channel,
               "--work",
               work,
               "--run",
               run};
  spec.argv.insert(spec.argv.end(), config.kernel_options.begin(), config.kernel_options.end());
  if (wanted.driver == "qemu" && wanted.seat > 0)
    spec.region = osvm::SharedRegion{.file = region_file(config.shared_memory, wanted.lab),
                                     .bytes = plan_region(lab.spec.seats).bytes};
  if (!wanted.address.empty() && !plain && !lab.spec.subnet.empty()) {
    MVM_ASSIGN(const osvm::Subnet net, osvm::parse_subnet(lab.spec.subnet));
    MVM_ASSIGN(const std::string gateway, bridge_address(lab.spec.subnet));
    spec.network = osvm::NetworkAttachment{.network = network_name(wanted.lab),
                                           .address = wanted.address,
                                           .prefix = net.prefix,
                                           .gateway = gateway};
  }
  return spec;
}

void LocalHostAgent::State::mark_lost(const std::string& lab, Node& node, const std::string& why) {
  {
    const std::lock_guard lock(node.mutex);
    if (node.state == NodeState::kLost) return;
    node.state = NodeState::kLost;
    node.lost_why = why;
    node.changed.notify_all();
    if (node.channel) node.channel->give_up(lost_error(node));
    if (node.awaited) return;
  }
  mvm::log::warning("node.lost", {{"lab", lab}, {"node", node.spec.node}, {"why", why}});
  log.add({.lab = lab, .node = node.spec.node, .event = "node.lost", .args = {{"reason", why}}});
}

/// The kernel said hello. A second boot of the same VM is a loss: what ran in the first is gone.
void LocalHostAgent::State::on_boot(const std::string& lab, Node& node, const std::string& boot) {
  {
    const std::lock_guard lock(node.mutex);
    if (node.boot.empty() || node.boot == boot) {
      node.boot = boot;
      const bool adopted = node.state == NodeState::kBooting && !node.awaited;
      if (node.state == NodeState::kBooting) node.state = NodeState::kUp;
      node.changed.notify_all();
      if (!adopted) return;
      log.add({.lab = lab,
               .node = node.spec.node,
               .event = "node.up",
               .args = {{"boot", boot}, {"adopted", true}}});
      return;
    }
  }
  mark_lost(lab, node, "its guest was booted again by itself");
}

Status LocalHostAgent::State::open_channel(const std::shared_ptr<Lab>& lab,
                                           const std::shared_ptr<Node>& node) {
  MVM_TRY(make_folders(osvm::run_folder(node->folder)));
  channel::HostEnd::Options options;
  options.path = osvm::channel_socket(node->folder);
  options.node = lab->spec.lab + "/" + node->spec.node;
  if (node->spec.driver == "qemu") options.way = channel::HostEnd::Way::kConnect;
  if (node->spec.driver == "lxc") options.peer_user = osvm::kFirstGuestId;
  if (node->spec.driver == "process") options.peer_user = ::geteuid();
  // The node owns its channel, and the channel is stopped before either goes: plain pointers are safe.
  channel::HostEnd::Callbacks callbacks;
  callbacks.event = [this, name = lab->spec.lab, target = node.get()](const channel::Event& event) {
    nlohmann::json args = event.args;
    args["boot"] = event.boot;
    return log.deliver({.lab = name,
                        .node = target->spec.node,
                        .event = event.name,
                        .args = std::move(args),
                        .blob = event.blob},
                       target->gone);
  };
  callbacks.up = [this, name = lab->spec.lab, target = node.get()](const std::string& boot) {
    on_boot(name, *target, boot);
  };
  const std::lock_guard lock(node->mutex);  // who hears the hello finds the channel
  MVM_ASSIGN(node->channel, channel::HostEnd::start(std::move(options), std::move(callbacks)));
  return ok();
}

Status LocalHostAgent::State::boot(const std::shared_ptr<Lab>& lab, const std::shared_ptr<Node>& node,
                                   std::chrono::milliseconds timeout) {
  osvm::Hypervisor* driver = hypervisor(node->spec.driver);
  if (driver == nullptr)
    return Error(ErrorCode::kUnsupported, "host " + config.name + " has no driver " + node->spec.driver);
  MVM_ASSIGN(const osvm::VmSpec spec, vm_spec(*lab, *node));
  MVM_TRY(write_record(*node));
  const Awaiting awaiting(*node);
  if (!node->channel) MVM_TRY(open_channel(lab, node));
  MVM_ASSIGN(const osvm::VmInfo vm, driver->create(spec));
  std::unique_lock lock(node->mutex);
  node->changed.wait_for(lock, timeout, [&] { return node->state != NodeState::kBooting; });
  if (node->state == NodeState::kLost) {
    const std::string why = node->lost_why;
    lock.unlock();
    return Error(ErrorCode::kUnavailable, "node " + node->spec.node + " ended while booting: " + why + "; " +
                                              tail_of_console(*driver, vm.id));
  }
  if (node->state == NodeState::kBooting) {
    lock.unlock();
    return Error(ErrorCode::kTimeout, "node " + node->spec.node + ": its kernel did not report within " +
                                          std::to_string(timeout.count()) + " ms; " +
                                          tail_of_console(*driver, vm.id));
  }
  return ok();
}

/// Tells the node who else is in the lab, and learns what it is.
Status LocalHostAgent::State::introduce(Lab& lab, Node& node) {
  const json hosts = hosts_of(lab);
  const std::string hosts_text = hosts.dump();
  {
    const std::lock_guard lock(node.mutex);
    if (node.known_hosts == hosts_text) return ok();
  }
  const bool plain = node.spec.address.empty();
  const std::string address = plain ? "127.0.0.1" : node.spec.address;
  const json configure = {
      {"hosts", hosts},
      {"soap", {{"address", address}, {"port", plain ? 0 : kNodeSoapPort}, {"token", node_token(lab.spec)}}}};
  auto configured = node.channel->call("node.configure", configure, kIntroduceTimeout);
  // A node whose SOAP plug-in did not load still runs jobs.
  if (!configured && configured.error().code() != ErrorCode::kUnsupported)
    return std::move(configured).error();
  MVM_ASSIGN(channel::Reply info, node.channel->call("node.info", json::object(), kIntroduceTimeout));
  const std::lock_guard lock(node.mutex);
  node.known_hosts = hosts_text;
  node.details = std::move(info.result);
  const json soap = configured ? configured->result.value("soap", json::object()) : json::object();
  if (soap.contains("port"))
    node.wsdl = "http://" + address + ":" + std::to_string(soap.value("port", 0)) + "/?wsdl";
  return ok();
}

/// The last node of a wave to come up tells all of them about each other.
void LocalHostAgent::State::introduce_all(Lab& lab) {
  std::vector<std::shared_ptr<Node>> up;
  {
    const std::lock_guard lock(lab.mutex);
    for (const auto& [name, node] : lab.nodes) {
      const std::lock_guard inner(node->mutex);
      if (node->awaited) return;
      if (node->state == NodeState::kUp && node->channel) up.push_back(node);
    }
  }
  for (const auto& node : up)
    if (auto told = introduce(lab, *node); !told)
      mvm::log::warning("node.introduce", {{"node", node->spec.node}, {"why", told.error().describe()}});
}

namespace {

NodeInfo info_of(Node& node) {
  const std::lock_guard lock(node.mutex);
  return {
      .spec = node.spec, .state = node.state, .boot = node.boot, .wsdl = node.wsdl, .details = node.details};
}

bool same(const NodeSpec& a, const NodeSpec& b) { return to_json(a) == to_json(b); }

}  // namespace

Result<NodeInfo> LocalHostAgent::ensure_node(const NodeSpec& spec, std::chrono::milliseconds timeout) {
  MVM_TRY(check(spec));
  MVM_ASSIGN(const std::shared_ptr<Lab> lab, state_->find_lab(spec.lab));
  std::shared_ptr<Node> node;
  {
    const std::lock_guard lock(lab->mutex);
    if (lab->closing) return Error(ErrorCode::kConflict, "lab " + spec.lab + " is being destroyed");
    auto& entry = lab->nodes[spec.node];
    if (!entry) entry = std::make_shared<Node>(spec, lab->folder / "nodes" / spec.node);
    node = entry;
  }
  if (!same(node->spec, spec))
    return Error(ErrorCode::kConflict,
                 "node " + spec.node + " of lab " + spec.lab + " exists as something else");
  const std::lock_guard work(node->work);
  NodeState state = NodeState::kBooting;
  {
    const std::lock_guard lock(node->mutex);
    state = node->state;
    if (state == NodeState::kLost) return lost_error(*node);
  }
  if (state == NodeState::kBooting) MVM_TRY(state_->boot(lab, node, timeout));
  if (state != NodeState::kSuspended) MVM_TRY(state_->introduce(*lab, *node));
  if (state == NodeState::kBooting) state_->introduce_all(*lab);
  if (state == NodeState::kBooting)
    state_->log.add({.lab = spec.lab, .node = spec.node, .event = "node.up", .args = {{"boot", node->boot}}});
  return info_of(*node);
}

void LocalHostAgent::State::forsake(Node& node) {
  const std::lock_guard lock(node.mutex);
  if (node.state != NodeState::kLost) node.lost_why = "it is being destroyed";
  node.state = NodeState::kLost;
  node.changed.notify_all();
  if (node.channel) node.channel->give_up(lost_error(node));
}

Status LocalHostAgent::State::close_node(Lab& lab, Node& node) {
  forsake(node);
  const std::lock_guard work(node.work);
  std::shared_ptr<channel::HostEnd> channel;
  {
    const std::lock_guard lock(node.mutex);
    channel = std::move(node.channel);
  }
  node.gone = true;
  log.wake();
  // A boot that was under way may have made it since.
  if (channel) channel->give_up(lost_error(node));
  channel.reset();
  if (osvm::Hypervisor* driver = hypervisor(node.spec.driver))
    MVM_TRY(driver->destroy(vm_id(lab.spec.lab, node.spec.node)));
  MVM_TRY(remove_tree(scratch_folder(lab, node)));
  MVM_TRY(remove_tree(node.folder));
  const std::lock_guard lock(lab.mutex);
  lab.nodes.erase(node.spec.node);
  return ok();
}

Status LocalHostAgent::destroy_node(const std::string& lab, const std::string& name) {
  auto node = state_->find_node(lab, name);
  if (!node) return node.error().code() == ErrorCode::kNotFound ? ok() : Status(node.error());
  MVM_ASSIGN(const std::shared_ptr<Lab> owner, state_->find_lab(lab));
  return state_->close_node(*owner, **node);
}

Status LocalHostAgent::suspend_node(const std::string& lab, const std::string& name, bool suspend) {
  MVM_ASSIGN(const std::shared_ptr<Node> node, state_->find_node(lab, name));
  osvm::Hypervisor* driver = state_->hypervisor(node->spec.driver);
  osvm::Suspendable* suspendable = driver != nullptr ? driver->suspendable() : nullptr;
  if (suspendable == nullptr)
    return Error(ErrorCode::kUnsupported, "the driver " + node->spec.driver + " cannot suspend a node");
  const std::lock_guard work(node->work);
  const std::string id = vm_id(lab, name);
  MVM_TRY(suspend ? suspendable->suspend(id) : suspendable->resume(id));
  const std::lock_guard lock(node->mutex);
  if (node->state != NodeState::kLost) node->state = suspend ? NodeState::kSuspended : NodeState::kUp;
  return ok();
}

Result<CallReply> LocalHostAgent::call(const std::string& lab, const std::string& node, const std::string& op,
                                       const json& args, std::string blob,
                                       std::chrono::milliseconds timeout) {
  MVM_ASSIGN(const std::shared_ptr<channel::HostEnd> channel, state_->channel_of(lab, node));
  MVM_ASSIGN(channel::Reply reply, channel->call(op, args, timeout, std::move(blob)));
  return CallReply{std::move(reply.result), std::move(reply.blob)};
}

Result<Inventory> LocalHostAgent::inventory() {
  std::vector<std::shared_ptr<Lab>> labs;
  {
    const std::lock_guard lock(state_->mutex);
    for (const auto& [name, lab] : state_->labs) labs.push_back(lab);
  }
  Inventory found;
  for (const std::shared_ptr<Lab>& lab : labs) {
    found.labs.push_back(lab->spec.lab);
    std::vector<std::shared_ptr<Node>> nodes;
    {
      const std::lock_guard lock(lab->mutex);
      for (const auto& [name, node] : lab->nodes) nodes.push_back(node);
    }
    for (const auto& node : nodes) found.nodes.push_back(info_of(*node));
  }
  return found;
}

Result<std::string> LocalHostAgent::console(const std::string& lab, const std::string& name,
                                            std::uint64_t offset) {
  MVM_ASSIGN(const std::shared_ptr<Node> node, state_->find_node(lab, name));
  osvm::Hypervisor* driver = state_->hypervisor(node->spec.driver);
  if (driver == nullptr)
    return Error(ErrorCode::kUnsupported,
                 "host " + state_->config.name + " has no driver " + node->spec.driver);
  MVM_ASSIGN(osvm::ConsolePiece piece, driver->console(vm_id(lab, name), offset, 65536));
  return std::move(piece.bytes);
}

}  // namespace mvm::host
