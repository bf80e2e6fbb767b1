#include "labs.h"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "execs.h"
#include "hosts.h"
#include "jobs.h"
#include "mvm/base/digest.h"
#include "mvm/base/log.h"
#include "scheduler.h"

namespace mvm::broker {
namespace {

constexpr std::uint32_t kFirstNode = 2;  ///< .0 is the network, .1 the host
constexpr std::uint32_t kLastNode = 254;

/// "10.181.0.0/16" → the first 24 bits of the pool's subnets, from and to.
struct Pool {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

std::optional<Pool> parse_pool(const std::string& text) {
  std::uint32_t address = 0;
  const char* at = text.data();
  const char* end = at + text.size();
  for (int i = 0; i < 4; ++i) {
    std::uint32_t part = 0;
    const auto parsed = std::from_chars(at, end, part);
    if (parsed.ec != std::errc() || part > 255 || parsed.ptr == end || *parsed.ptr != (i < 3 ? '.' : '/'))
      return std::nullopt;
    address = address << 8U | part;
    at = parsed.ptr + 1;
  }
  std::uint32_t prefix = 0;
  const auto parsed = std::from_chars(at, end, prefix);
  if (parsed.ec != std::errc() || parsed.ptr != end || prefix < 8 || prefix > 24) return std::nullopt;
  const auto count = 1U << (24U - prefix);
  return Pool{.first = (address >> 8U) & ~(count - 1), .count = count};
}

std::string dotted(std::uint32_t first24, std::uint32_t last) {
  return std::to_string(first24 >> 16U) + "." + std::to_string(first24 >> 8U & 255U) + "." +
         std::to_string(first24 & 255U) + "." + std::to_string(last);
}

std::string with_last(const std::string& subnet, std::uint32_t last) {
  return subnet.substr(0, subnet.rfind('.') + 1) + std::to_string(last);
}

/// A lab's id from a name of the user's: [a-z0-9-], 1 to 24 characters.
std::string id_from(const std::string& name) {
  std::string id;
  for (const char c : name) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool plain = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (plain)
      id += lower;
    else if (!id.empty() && id.back() != '-')
      id += '-';
    if (id.size() == 24) break;
  }
  while (!id.empty() && id.back() == '-') id.pop_back();
  return id.empty() ? "lab" : id;
}

}  // namespace

Lab& Labs::insert(LabRecord record) {
  auto& slot = labs_[record.id];
  slot = std::make_unique<Lab>();
  slot->record = std::move(record);
  return *slot;
}

void Labs::set_plan(Lab& lab, Plan plan) {
  lab.plan = std::move(plan);
  lab.index.clear();
  lab.status.clear();
  for (std::uint32_t i = 0; i < lab.plan.nodes.size(); ++i) {
    lab.index[lab.plan.nodes[i].node] = i;
    lab.status[lab.plan.nodes[i].node] = {};
  }
}

Status Labs::load() {
  if (!parse_pool(core_.config.subnet_pool))
    return Error(ErrorCode::kInvalid, "subnet pool: found '" + core_.config.subnet_pool +
                                          "', expected a network such as 10.181.0.0/16, prefix 8 to 24");
  std::string after;
  for (;;) {
    MVM_ASSIGN(const auto page, core_.store.list("labs/", after, 500));
    if (page.empty()) return ok();
    for (const auto& entry : page) {
      MVM_ASSIGN(auto record, decode_lab(entry.value));
      auto& lab = insert(std::move(record));
      if (lab.record.ephemeral) continue;
      MVM_ASSIGN(const auto text, core_.journal.get_large("plans/lab/" + lab.record.id));
      MVM_ASSIGN(auto plan, decode_plan(text));
      set_plan(lab, std::move(plan));
    }
    after = page.back().key;
  }
}

void Labs::resume() {
  for (auto& [id, lab] : labs_) {
    if (lab->record.ephemeral) continue;
    if (lab->record.destroying)
      bring_down(*lab);
    else
      bring_up(*lab);
  }
}

Lab* Labs::find(const std::string& id) {
  const auto found = labs_.find(id);
  return found == labs_.end() ? nullptr : found->second.get();
}

Lab& Labs::add_for_job(const std::string& job, std::uint64_t number, const std::string& user,
                       const std::string& name) {
  auto& lab = insert(LabRecord{.id = "job-" + std::to_string(number) + "-" + random_hex(3),
                               .name = name,
                               .user = user,
                               .job = job,
                               .ephemeral = true,
                               .secret = random_hex(32),
                               .codec_seed = random_hex(32),
                               .created_ms = core_.clock.wall_ms()});
  lab.jobs.insert(job);
  core_.journal.put("labs/" + lab.record.id, encode(lab.record));
  return lab;
}

/// The next one that no lab has. In turn, so that what a host cannot use (others may have a network there) is
/// not tried again by the next attempt.
Result<std::string> Labs::free_subnet() {
  const auto pool = parse_pool(core_.config.subnet_pool);
  std::set<std::string> used;
  for (const auto& [id, lab] : labs_)
    for (const auto& [host, subnet] : lab->record.subnets) used.insert(subnet);
  const std::uint32_t first = pool->count > 1 ? 1 : 0;
  for (std::uint32_t tried = first; tried < pool->count; ++tried) {
    last_subnet_ = last_subnet_ + 1 < pool->count ? last_subnet_ + 1 : first;
    auto subnet = dotted(pool->first + last_subnet_, 0) + "/24";
    if (!used.contains(subnet)) return subnet;
  }
  return Error(ErrorCode::kExhausted, "no subnet of " + core_.config.subnet_pool + " is free");
}

Status Labs::assign(Lab& lab, Plan& plan) {
  std::map<std::string, std::uint32_t> next;
  lab.record.subnets.clear();
  for (auto& node : plan.nodes) {
    if (!lab.record.subnets.contains(node.host)) {
      auto subnet = free_subnet();
      if (!subnet) {
        lab.record.subnets.clear();
        return subnet.error();
      }
      lab.record.subnets[node.host] = *subnet;
      next[node.host] = kFirstNode;
    }
    if (node.driver == "process") continue;  // it shares the host's network
    if (next[node.host] > kLastNode) {
      lab.record.subnets.clear();
      return Error(ErrorCode::kExhausted, "host " + node.host + ": at most " +
                                              std::to_string(kLastNode - kFirstNode + 1) + " VMs of one lab");
    }
    node.address = with_last(lab.record.subnets[node.host], next[node.host]++);
  }
  set_plan(lab, plan);
  return ok();
}

void Labs::remove(const std::string& id) {
  core_.journal.group([&] {
    if (const auto* lab = find(id))
      for (const auto& [node, status] : lab->status) core_.execs->node_lost(id, node, "its lab is gone");
    core_.journal.erase("labs/" + id);
    core_.journal.erase_large("plans/lab/" + id);
  });
  labs_.erase(id);
}

std::string Labs::bridge_address(const std::string& subnet) {
  return with_last(subnet.substr(0, subnet.find('/')), 1);
}

/// An own lab's links are those of its one job; a standing lab gets ready for one job after the other.
void Labs::will_carry(Lab& lab, const WiringLayout& layout) {
  auto& record = lab.record;
  if (record.ephemeral) {
    record.proxies.clear();
    record.plain.clear();
    record.secured.clear();
  }
  // An own lab has its subnets since this plan, too.
  if (!will_also_carry(lab, layout) && record.ephemeral)
    core_.journal.put("labs/" + record.id, encode(record));
}

bool Labs::will_also_carry(Lab& lab, const WiringLayout& layout) {
  auto& record = lab.record;
  const auto before = std::tuple(record.proxies, record.plain, record.secured);
  record.proxies.merge(hosts_with_proxy(layout));
  record.plain.merge(hosts_with_plain_links(layout));
  for (const auto& domain : guests_with_tls(layout)) record.secured.insert(domain.host);
  if (before == std::tie(record.proxies, record.plain, record.secured)) return false;
  core_.journal.put("labs/" + record.id, encode(record));
  return true;
}

host::LinkIdentity Labs::identity(const Lab& lab, const std::string& domain) const {
  const auto* authority = core_.config.gate.authority;
  if (authority == nullptr) return {};
  auto issued = authority->issue_for_links(lab.record.id, domain);
  if (!issued) {
    log::error("lab.identity",
               {{"lab", lab.record.id}, {"domain", domain}, {"why", issued.error().describe()}});
    return {};
  }
  return {.certificate = std::move(issued->certificate),
          .key = std::move(issued->key),
          .authority = authority->certificate()};
}

host::LabSpec Labs::spec(const Lab& lab, const std::string& host) const {
  const auto subnet = lab.record.subnets.find(host);
  // Between hosts links are carried by TLS, to guests where a topology says so.
  const bool tls = lab.record.proxies.contains(host) &&
                   (lab.record.subnets.size() > 1 || lab.record.secured.contains(host));
  std::uint32_t seats = 0;
  for (const auto& node : lab.plan.nodes)
    if (node.host == host) seats = std::max(seats, node.seat);
  return {.lab = lab.record.id,
          .owner = lab.record.user,
          .secret = lab.record.secret,
          .subnet = subnet == lab.record.subnets.end() ? std::string() : subnet->second,
          .proxy = lab.record.proxies.contains(host),
          .plain_links = lab.record.plain.contains(host),
          .seats = seats,
          .identity = tls ? identity(lab, "host:" + host) : host::LinkIdentity()};
}

host::NodeSpec Labs::node_spec(const Lab& lab, const PlanNode& node) const {
  return {.lab = lab.record.id,
          .node = node.node,
          .job = lab.record.job,
          .driver = node.driver,
          .image = node.image,
          .vcpus = node.vcpus,
          .memory = node.memory,
          .address = node.address,
          .seat = node.seat};
}

// ---- standing labs

Result<std::string> Labs::create(const std::string& user, const std::string& name, std::string profile_digest,
                                 std::map<std::string, std::string> settings,
                                 std::shared_ptr<const topologies::Profile> profile, Plan plan) {
  auto id = id_from(name);
  for (int n = 2; labs_.contains(id); ++n) id = id_from(name) + "-" + std::to_string(n);
  auto& lab = insert(LabRecord{.id = id,
                               .name = name,
                               .user = user,
                               .secret = random_hex(32),
                               .codec_seed = random_hex(32),
                               .created_ms = core_.clock.wall_ms(),
                               .profile = std::move(profile_digest),
                               .settings = std::move(settings)});
  lab.profile = std::move(profile);
  if (auto assigned = assign(lab, plan); !assigned) {
    labs_.erase(id);
    return Error(ErrorCode::kNoPlacement, assigned.error().message());
  }
  // Its later jobs may join any of its nodes, so a proxy is needed as soon as there are two memory domains.
  const bool guests =
      std::any_of(plan.nodes.begin(), plan.nodes.end(), [](const auto& n) { return n.driver == "qemu"; });
  for (const auto& [host, subnet] : lab.record.subnets)
    if (guests || lab.record.subnets.size() > 1) lab.record.proxies.insert(host);
  core_.journal.group([&] {
    core_.journal.put("labs/" + id, encode(lab.record));
    core_.journal.put_large("plans/lab/" + id, encode(lab.plan));
    core_.journal.event(
        {.event = "lab.created", .lab = id, .job = {}, .node = {}, .detail = name, .user = user});
  });
  core_.journal.after_commit([this, id] {
    if (auto* made = find(id)) bring_up(*made);
  });
  return id;
}

void Labs::bring_up(Lab& lab) {
  const auto token = ++lab.token;
  const auto id = lab.record.id;
  lab.up = false;
  for (const auto& entry : lab.record.subnets) {
    const std::string& host = entry.first;
    core_.hosts->with(
        host,
        [spec = spec(lab, host)](host::HostAgent& agent) -> Status {
          MVM_TRY(agent.ensure_lab(spec));
          return ok();
        },
        [this, id, token, host](const Status& status) {
          auto* mine = find(id);
          if (mine == nullptr || mine->token != token) return;
          if (!status) {
            mine->trouble = "host " + host + ": " + status.error().describe();
            core_.after(core_.config.retry_longest, [this, id, token] {
              auto* again = find(id);
              if (again != nullptr && again->token == token) bring_up(*again);
            });
            return;
          }
          for (const auto& node : mine->plan.nodes)
            if (node.host == host && mine->status[node.node].state != host::NodeState::kUp)
              boot(*mine, node, false);
          check_up(*mine);
        },
        /*patient=*/true);
  }
  check_up(lab);
}

void Labs::boot(Lab& lab, const PlanNode& node, bool again) {
  const auto token = lab.token;
  core_.hosts->with(
      node.host,
      [self = core_.weak_from_this(), this, spec = node_spec(lab, node), again,
       timeout = core_.config.boot_timeout](host::HostAgent& agent) -> Status {
        if (again) MVM_TRY(agent.destroy_node(spec.lab, spec.node));
        MVM_ASSIGN(auto info, agent.ensure_node(spec, timeout));
        if (const auto core = self.lock())
          core->post([this, lab_id = spec.lab, info = std::move(info)] { node_up(lab_id, info); });
        return ok();
      },
      [this, id = lab.record.id, token, name = node.node](const Status& status) {
        booted(id, token, name, status);
      },
      /*patient=*/true);
}

void Labs::booted(const std::string& id, std::uint64_t token, const std::string& node, const Status& status) {
  auto* lab = find(id);
  if (lab == nullptr || lab->token != token) return;
  if (status) {
    check_up(*lab);
    return;
  }
  lab->status[node] = {
      .state = host::NodeState::kLost, .boot = {}, .wsdl = {}, .why = status.error().describe()};
  lab->trouble = "node " + node + ": " + status.error().describe();
  core_.journal.event({.event = "node.failed",
                       .lab = id,
                       .job = {},
                       .node = node,
                       .detail = status.error().describe(),
                       .user = lab->record.user});
  core_.after(core_.config.retry_longest, [this, id, token, node] {
    auto* again = find(id);
    if (again != nullptr && again->token == token)
      boot(*again, again->plan.nodes[again->index.at(node)], true);
  });
}

void Labs::check_up(Lab& lab) {
  const bool up = std::all_of(lab.plan.nodes.begin(), lab.plan.nodes.end(), [&](const auto& node) {
    return lab.status[node.node].state == host::NodeState::kUp;
  });
  if (up && !lab.up) {
    core_.journal.event({.event = "lab.up",
                         .lab = lab.record.id,
                         .job = {},
                         .node = {},
                         .detail = std::to_string(lab.plan.nodes.size()) + " nodes",
                         .user = lab.record.user});
    lab.trouble.clear();
    core_.scheduler->wake();
  }
  lab.up = up;
}

void Labs::destroy(Lab& lab) {
  if (lab.record.destroying) return;
  lab.record.destroying = true;
  ++lab.token;
  core_.journal.group([&] {
    core_.journal.put("labs/" + lab.record.id, encode(lab.record));
    core_.journal.event({.event = "lab.destroying",
                         .lab = lab.record.id,
                         .job = {},
                         .node = {},
                         .detail = {},
                         .user = lab.record.user});
  });
  for (const auto& job : std::set<std::string>(lab.jobs))
    core_.jobs->cancel(job, "its lab is being destroyed");
  core_.journal.after_commit([this, id = lab.record.id] {
    if (auto* mine = find(id)) bring_down(*mine);
  });
}

void Labs::job_ended(const std::string& id, const std::string& job) {
  auto* lab = find(id);
  if (lab == nullptr) return;
  lab->jobs.erase(job);
  if (!lab->record.destroying || !lab->jobs.empty()) return;
  core_.journal.after_commit([this, id] {
    if (auto* mine = find(id)) bring_down(*mine);
  });
}

/// Once its jobs have ended: everything of the lab goes, on every host, however long a host stays silent.
void Labs::bring_down(Lab& lab) {
  if (!lab.jobs.empty() || lab.busy > 0) return;
  const auto id = lab.record.id;
  if (lab.record.subnets.empty()) {
    core_.journal.group([&] {
      core_.journal.event({.event = "lab.destroyed",
                           .lab = id,
                           .job = {},
                           .node = {},
                           .detail = {},
                           .user = lab.record.user});
      remove(id);
    });
    core_.scheduler->wake();
    return;
  }
  const auto part_done = [this, id](const std::string& host, const Status& status) {
    auto* mine = find(id);
    if (mine == nullptr) return;
    --mine->busy;
    if (status)
      mine->record.subnets.erase(host);
    else
      mine->trouble = "host " + host + ": " + status.error().describe();
    if (mine->busy > 0) return;
    const auto pause = mine->record.subnets.empty() ? std::chrono::milliseconds(0) : core_.config.retry_first;
    core_.after(pause, [this, id] {
      if (auto* again = find(id)) bring_down(*again);
    });
  };
  const auto subnets = lab.record.subnets;
  lab.busy = static_cast<std::uint32_t>(subnets.size());
  for (const auto& [host, subnet] : subnets)
    core_.hosts->with(
        host, [id](host::HostAgent& agent) { return agent.destroy_lab(id); },
        [part_done, host_name = host](const Status& status) { part_done(host_name, status); },
        /*patient=*/true);
}

// ---- what hosts tell

bool Labs::belongs(const std::string& lab, const std::string& host) const {
  const auto found = labs_.find(lab);
  return found != labs_.end() && found->second->record.subnets.contains(host);
}

bool Labs::has_node(const std::string& lab, const std::string& node, const std::string& host) const {
  const auto found = labs_.find(lab);
  if (found == labs_.end()) return false;
  const auto index = found->second->index.find(node);
  return index != found->second->index.end() && found->second->plan.nodes[index->second].host == host;
}

std::vector<std::string> Labs::on_host(const std::string& host) const {
  std::vector<std::string> ids;
  for (const auto& [id, lab] : labs_)
    if (lab->record.subnets.contains(host)) ids.push_back(id);
  return ids;
}

void Labs::compare(const std::string& host, const host::Inventory& inventory) {
  std::map<std::pair<std::string, std::string>, const host::NodeInfo*> there;
  for (const auto& info : inventory.nodes) there[{info.spec.lab, info.spec.node}] = &info;
  std::vector<std::tuple<std::string, std::string, std::string>> lost;
  for (auto& [id, lab] : labs_)
    for (const auto& node : lab->plan.nodes) {
      if (node.host != host) continue;
      const auto found = there.find({id, node.node});
      if (found == there.end() || found->second->state == host::NodeState::kLost)
        lost.emplace_back(id, node.node, "it was gone when the host was asked");
      else if (found->second->state != host::NodeState::kBooting)
        node_up(id, *found->second);
    }
  for (const auto& [lab, node, reason] : lost) {
    auto* mine = find(lab);
    // What was never up is not lost: whoever wants it boots it.
    if (mine == nullptr) continue;
    core_.jobs->node_missing(lab, node, reason);
    core_.execs->node_lost(lab, node, reason);
    if (mine->status[node].state == host::NodeState::kUp) node_lost(lab, node, reason);
  }
}

void Labs::node_up(const std::string& id, const host::NodeInfo& info) {
  auto* lab = find(id);
  if (lab == nullptr || !lab->index.contains(info.spec.node)) return;
  auto& status = lab->status[info.spec.node];
  const bool news = status.state != info.state || status.boot != info.boot;
  status = {.state = info.state, .boot = info.boot, .wsdl = info.wsdl, .why = {}};
  if (news) core_.look();
  if (!lab->record.ephemeral) check_up(*lab);
}

void Labs::meet(const std::string& id, const std::string& name) {
  const auto* lab = find(id);
  if (lab == nullptr || lab->record.destroying || !lab->index.contains(name)) return;
  const auto& node = lab->plan.nodes[lab->index.at(name)];
  auto info = std::make_shared<host::NodeInfo>();
  core_.hosts->with(
      node.host,
      [spec = node_spec(*lab, node), info,
       timeout = core_.config.call_timeout](host::HostAgent& agent) -> Status {
        MVM_ASSIGN(*info, agent.ensure_node(spec, timeout));
        return ok();
      },
      [this, id, info](const Status& status) {
        if (status) node_up(id, *info);  // else whoever needs the node will find out
      });
}

void Labs::node_lost(const std::string& id, const std::string& node, const std::string& reason,
                     const std::string& boot) {
  auto* lab = find(id);
  if (lab == nullptr || !lab->index.contains(node)) return;
  const auto& present = lab->status[node].boot;
  if (!boot.empty() && !present.empty() && boot != present) return;  // an earlier one, replaced since
  lab->status[node] = {.state = host::NodeState::kLost, .boot = {}, .wsdl = {}, .why = reason};
  core_.journal.event({.event = "node.lost",
                       .lab = id,
                       .job = lab->record.job,
                       .node = node,
                       .detail = reason,
                       .user = lab->record.user});
  core_.jobs->node_lost(id, node, reason);
  core_.execs->node_lost(id, node, reason);
  if (lab->record.ephemeral || lab->record.destroying) return;
  lab->up = false;
  core_.journal.after_commit([this, id, node, token = lab->token] {
    auto* mine = find(id);
    if (mine != nullptr && mine->token == token && mine->index.contains(node))
      this->boot(*mine, mine->plan.nodes[mine->index.at(node)], true);
  });
}

void Labs::add_usage(HostSnapshot& host) const {
  for (const auto& [id, lab] : labs_)
    for (const auto& node : lab->plan.nodes) {
      if (node.host != host.info.name || node.existing) continue;
      (node.driver == "qemu" ? host.guest_vcpus : host.container_vcpus) += node.vcpus;
      host.memory_used += node.memory;
    }
}

}  // namespace mvm::broker
