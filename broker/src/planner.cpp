#include "mvm/broker/planner.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <unordered_map>

#include "mvm/broker/wiring_plan.h"

namespace mvm::broker {
namespace {

using topologies::Machines;
using topologies::Profile;

bool is_guest(const std::string& driver) { return driver == "qemu"; }

std::string in_mib(std::uint64_t bytes) { return std::to_string(bytes >> 20U) + " MiB"; }

std::uint64_t free_milli(const HostSnapshot& host, const Overcommit& overcommit) {
  const auto all = std::uint64_t{host.info.vcpus} * 1000;
  const auto used = milli_cost("lxc", 1, overcommit) * host.container_vcpus +
                    milli_cost("qemu", 1, overcommit) * host.guest_vcpus;
  return used >= all ? 0 : all - used;
}

std::uint64_t free_memory(const HostSnapshot& host) {
  return host.memory_used >= host.info.memory ? 0 : host.info.memory - host.memory_used;
}

/// Why this host can never take such a machine; empty: it can, if it has room.
std::string misfit(const HostSnapshot& host, const Machines& want) {
  if (!host.usable) return host.unusable_why;
  if (!want.host.empty() && want.host != host.info.name) return "not the host asked for (" + want.host + ")";
  const auto driver = std::find_if(host.info.drivers.begin(), host.info.drivers.end(),
                                   [&](const auto& candidate) { return candidate.driver == want.driver; });
  if (driver == host.info.drivers.end()) return "has no driver " + want.driver;
  if (!driver->usable) return "driver " + want.driver + " does not work: " + driver->detail;
  const auto image = std::find_if(host.info.images.begin(), host.info.images.end(),
                                  [&](const auto& candidate) { return candidate.name == want.image; });
  if (image == host.info.images.end()) return "has no image " + want.image;
  if (std::find(image->drivers.begin(), image->drivers.end(), want.driver) == image->drivers.end())
    return "image " + want.image + " cannot be booted by driver " + want.driver;
  const auto& architecture = image->architecture.empty() ? host.info.architecture : image->architecture;
  if (!want.architecture.empty() && want.architecture != architecture)
    return "image " + want.image + " is " + architecture + ", " + want.architecture + " asked";
  return {};
}

/// Why this host has no room for even one such machine now; empty: it has.
std::string no_room(const HostSnapshot& host, const Machines& want, const Overcommit& overcommit) {
  const double factor = is_guest(want.driver) ? overcommit.guest : overcommit.container;
  const auto cost = milli_cost(want.driver, want.vcpus, overcommit);
  const auto promised = [&](std::uint64_t milli) {
    return std::to_string(static_cast<std::uint64_t>(static_cast<double>(milli) * factor / 1000.0));
  };
  if (cost > free_milli(host, overcommit))
    return promised(free_milli(host, overcommit)) + " of " + promised(std::uint64_t{host.info.vcpus} * 1000) +
           " vcpus free, " + std::to_string(want.vcpus) + " asked";
  if (want.memory > free_memory(host))
    return in_mib(free_memory(host)) + " of " + in_mib(host.info.memory) + " memory free, " +
           in_mib(want.memory) + " asked";
  return {};
}

/// Roles whose processes are laid over the same nodes, together.
struct Pool {
  std::vector<std::uint32_t> nodes;
  std::vector<topologies::ProcessId> processes;
};

Result<std::vector<Pool>> pools_of(const Profile& profile, const std::vector<PlanNode>& nodes) {
  std::map<std::string, std::vector<std::uint32_t>> nodes_of_machines;
  std::vector<std::uint32_t> all(nodes.size());
  std::iota(all.begin(), all.end(), 0U);
  for (std::uint32_t i = 0; i < nodes.size(); ++i) nodes_of_machines[nodes[i].machines].push_back(i);
  std::vector<Pool> pools;
  for (const auto& role : profile.graph.roles()) {
    if (role.count == 0) continue;
    std::vector<std::uint32_t> mine;
    for (const auto& machines : profile.machines) {
      if (std::find(machines.roles.begin(), machines.roles.end(), role.name) == machines.roles.end())
        continue;
      const auto& some = nodes_of_machines[machines.name];
      mine.insert(mine.end(), some.begin(), some.end());
    }
    if (profile.machines.empty()) mine = all;
    if (mine.empty()) return Error(ErrorCode::kInvalid, "role " + role.name + " has no machines");
    auto pool = std::find_if(pools.begin(), pools.end(), [&](const Pool& p) { return p.nodes == mine; });
    if (pool == pools.end())
      pool = pools.insert(pools.end(), Pool{.nodes = std::move(mine), .processes = {}});
    for (std::uint32_t i = 0; i < role.count; ++i) pool->processes.push_back(role.first_process + i);
  }
  return pools;
}

Result<std::vector<std::uint32_t>> lay(const Profile& profile, const std::vector<PlanNode>& nodes,
                                       Layout layout) {
  std::vector<std::uint32_t> node_of(profile.graph.process_count());
  MVM_ASSIGN(const auto pools, pools_of(profile, nodes));
  for (const auto& pool : pools) {
    const std::uint64_t n = pool.nodes.size();
    const std::uint64_t p = pool.processes.size();
    for (std::uint64_t k = 0; k < p; ++k)
      node_of[pool.processes[k]] = pool.nodes[layout == Layout::kCyclic ? k % n : k * n / std::max(p, n)];
  }
  return node_of;
}

std::vector<std::string> explain(const Snapshot& snapshot, const Machines& machines) {
  std::vector<std::string> reasons;
  for (const auto& host : snapshot.hosts) {
    std::string why = misfit(host, machines);
    if (why.empty()) why = no_room(host, machines, snapshot.overcommit);
    if (!why.empty())
      reasons.push_back("host " + host.info.name + ", machines " + machines.name + ": " + why);
  }
  if (snapshot.hosts.empty()) reasons.push_back("machines " + machines.name + ": there is no host");
  return reasons;
}

/// Fills hosts one after the other.
class Packer {
 public:
  explicit Packer(const PlacementProblem& problem) : hosts_(problem.hosts), rank_(problem.hosts.size()) {
    // The most used host first, so that empty ones stay empty.
    std::vector<std::uint32_t> order(hosts_.size());
    std::iota(order.begin(), order.end(), 0U);
    const auto used = [&](std::uint32_t h) {
      return hosts_[h].milli_vcpus_all - std::min(hosts_[h].milli_vcpus, hosts_[h].milli_vcpus_all);
    };
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return used(a) > used(b); });
    for (std::uint32_t i = 0; i < order.size(); ++i) rank_[order[i]] = i;
  }

  [[nodiscard]] std::vector<std::uint32_t> ranked(std::vector<std::uint32_t> hosts) const {
    std::sort(hosts.begin(), hosts.end(), [&](auto a, auto b) { return rank_[a] < rank_[b]; });
    return hosts;
  }

  /// Takes room for all nodes of a set on these hosts, each filled before the next; none, and nothing taken,
  /// where they do not fit.
  std::optional<std::vector<std::uint32_t>> place(const PlacementProblem::Set& set,
                                                  const std::vector<std::uint32_t>& candidates) {
    const auto before = hosts_;
    std::vector<std::uint32_t> host_of;
    std::size_t at = 0;
    for (std::uint32_t k = 0; k < set.count; ++k) {
      while (at < candidates.size() && (hosts_[candidates[at]].milli_vcpus < set.milli_vcpus ||
                                        hosts_[candidates[at]].memory < set.memory))
        ++at;
      if (at == candidates.size()) {
        hosts_ = before;
        return std::nullopt;
      }
      auto& host = hosts_[candidates[at]];
      host.milli_vcpus -= set.milli_vcpus;
      host.memory -= set.memory;
      host_of.push_back(candidates[at]);
    }
    return host_of;
  }

  [[nodiscard]] const std::vector<PlacementProblem::Host>& hosts() const { return hosts_; }
  void restore(std::vector<PlacementProblem::Host> hosts) { hosts_ = std::move(hosts); }

 private:
  std::vector<PlacementProblem::Host> hosts_;
  std::vector<std::uint32_t> rank_;
};

/// Sets of machines whose processes links join that are forced to memory of one host, in groups; each set
/// alone where there is no such link.
std::vector<std::vector<std::size_t>> sets_together(const Profile& profile) {
  const auto& graph = profile.graph;
  std::vector<std::size_t> group(profile.machines.size());
  std::iota(group.begin(), group.end(), std::size_t{0});
  const auto join = [&](std::size_t a, std::size_t b) {
    const auto from = group[b];
    for (auto& g : group)
      if (g == from) g = group[a];
  };
  std::map<std::uint32_t, std::vector<std::size_t>> sets_of_role;
  for (std::size_t s = 0; s < profile.machines.size(); ++s)
    for (std::uint32_t r = 0; r < graph.roles().size(); ++r) {
      const auto& names = profile.machines[s].roles;
      if (std::find(names.begin(), names.end(), graph.roles()[r].name) != names.end())
        sets_of_role[r].push_back(s);
    }
  for (topologies::LinkId id = 0; id < graph.link_count(); ++id) {
    const auto link = graph.link(id);
    const auto forced = transport_from(link.spec->transport);
    if (!forced || !(stays_inside(*forced) || *forced == Transport::kIvshmem)) continue;
    std::optional<std::size_t> first;
    for (const auto ends : {link.producers, link.consumers})
      for (const auto& end : ends)
        for (const auto s : sets_of_role[graph.role_of(end.process)]) {
          join(first.value_or(s), s);
          first = first.value_or(s);
        }
  }
  std::map<std::size_t, std::vector<std::size_t>> groups;
  for (std::size_t s = 0; s < group.size(); ++s) groups[group[s]].push_back(s);
  std::vector<std::vector<std::size_t>> result;
  for (auto& [leader, sets] : groups) result.push_back(std::move(sets));
  return result;
}

/// All sets of a group on the first host that has room for them.
bool place_group(const PlacementProblem& problem, const std::vector<std::size_t>& group, Packer& packer,
                 std::vector<std::vector<std::uint32_t>>& host_of) {
  for (const auto h : packer.ranked(problem.sets[group.front()].hosts)) {
    const auto before = packer.hosts();
    const bool fits = std::all_of(group.begin(), group.end(), [&](std::size_t s) {
      const auto& hosts = problem.sets[s].hosts;
      if (!std::binary_search(hosts.begin(), hosts.end(), h)) return false;
      auto placed = packer.place(problem.sets[s], {h});
      if (placed) host_of[s] = std::move(*placed);
      return placed.has_value();
    });
    if (fits) return true;
    packer.restore(before);
  }
  return false;
}

/// As pack(), with the sets of each group on one host, and groups of several first.
std::optional<Placement> pack_together(const PlacementProblem& problem,
                                       const std::vector<std::vector<std::size_t>>& groups) {
  Packer packer(problem);
  std::vector<std::vector<std::uint32_t>> host_of(problem.sets.size());
  for (const auto& group : groups)
    if (group.size() > 1 && !place_group(problem, group, packer, host_of)) return std::nullopt;
  for (const auto& group : groups) {
    if (group.size() > 1 || place_group(problem, group, packer, host_of)) continue;
    const auto& set = problem.sets[group.front()];
    auto placed = packer.place(set, packer.ranked(set.hosts));
    if (!placed) return std::nullopt;
    host_of[group.front()] = std::move(*placed);
  }
  Placement placement;
  for (const auto& hosts : host_of)
    placement.host_of.insert(placement.host_of.end(), hosts.begin(), hosts.end());
  return placement;
}

bool forces_transports(const topologies::Graph& graph) {
  for (topologies::LinkId id = 0; id < graph.link_count(); ++id)
    if (is_forced(graph, id)) return true;
  return false;
}

/// Lays the processes over the nodes, otherwise than asked where only that gives links the transports that
/// are forced. kNoPlacement with the reasons.
Status lay_for_transports(const Profile& profile, Layout layout, Plan& plan) {
  MVM_ASSIGN(plan.node_of, lay(profile, plan.nodes, layout));
  if (!forces_transports(profile.graph)) return ok();
  const auto wanted = lay_out(profile.graph, plan);
  if (wanted || wanted.error().code() != ErrorCode::kNoPlacement) return ok();
  const auto first = plan.node_of;
  MVM_ASSIGN(plan.node_of,
             lay(profile, plan.nodes, layout == Layout::kBlock ? Layout::kCyclic : Layout::kBlock));
  if (lay_out(profile.graph, plan)) return ok();
  plan.node_of = first;
  return wanted.error();
}

}  // namespace

std::uint64_t milli_cost(const std::string& driver, std::uint32_t vcpus, const Overcommit& overcommit) {
  const double factor = is_guest(driver) ? overcommit.guest : overcommit.container;
  return static_cast<std::uint64_t>(std::ceil(1000.0 * vcpus / std::max(factor, 0.001)));
}

Preparation prepare(const Snapshot& snapshot, const Profile& profile) {
  Preparation result;
  for (const auto& host : snapshot.hosts)
    result.problem.hosts.push_back({.milli_vcpus = host.usable ? free_milli(host, snapshot.overcommit) : 0,
                                    .memory = host.usable ? free_memory(host) : 0,
                                    .milli_vcpus_all = std::uint64_t{host.info.vcpus} * 1000,
                                    .memory_all = host.info.memory});
  for (const auto& machines : profile.machines) {
    PlacementProblem::Set set{.count = machines.count,
                              .milli_vcpus = milli_cost(machines.driver, machines.vcpus, snapshot.overcommit),
                              .memory = machines.memory,
                              .hosts = {}};
    bool any = false;
    for (std::uint32_t h = 0; h < snapshot.hosts.size(); ++h) {
      if (!misfit(snapshot.hosts[h], machines).empty()) continue;
      set.hosts.push_back(h);
      any = any || no_room(snapshot.hosts[h], machines, snapshot.overcommit).empty();
    }
    result.hopeless = result.hopeless || (set.hosts.empty() && set.count > 0);
    auto reasons = explain(snapshot, machines);
    if (!any && set.count > 0) result.reasons.insert(result.reasons.end(), reasons.begin(), reasons.end());
    result.problem.sets.push_back(std::move(set));
  }
  return result;
}

std::vector<std::string> explain_shortage(const Snapshot& snapshot, const Profile& profile,
                                          const PlacementProblem& problem) {
  std::vector<std::string> reasons;
  for (std::size_t s = 0; s < problem.sets.size(); ++s) {
    const auto& set = problem.sets[s];
    for (const auto h : set.hosts) {
      const auto& host = problem.hosts[h];
      std::uint64_t fit = set.count;
      if (set.milli_vcpus > 0) fit = std::min(fit, host.milli_vcpus / set.milli_vcpus);
      if (set.memory > 0) fit = std::min(fit, host.memory / set.memory);
      const auto& machines = profile.machines[s];
      reasons.push_back("host " + snapshot.hosts[h].info.name + ", machines " + machines.name +
                        ": room for " + std::to_string(fit) + " of " + std::to_string(set.count) + " (each " +
                        std::to_string(machines.vcpus) + " vcpus, " + in_mib(machines.memory) + "; free " +
                        in_mib(host.memory) + ")");
    }
  }
  return reasons;
}

std::optional<Placement> pack(const PlacementProblem& problem) {
  Placement placement;
  Packer packer(problem);
  for (const auto& set : problem.sets) {
    const auto hosts = packer.place(set, packer.ranked(set.hosts));
    if (!hosts) return std::nullopt;
    placement.host_of.insert(placement.host_of.end(), hosts->begin(), hosts->end());
  }
  return placement;
}

Status check_placement(const PlacementProblem& problem, const Placement& placement) {
  auto hosts = problem.hosts;
  std::size_t next = 0;
  for (const auto& set : problem.sets) {
    for (std::uint32_t k = 0; k < set.count; ++k, ++next) {
      if (next >= placement.host_of.size()) return Error(ErrorCode::kConflict, "the plan has too few nodes");
      const auto h = placement.host_of[next];
      if (!std::binary_search(set.hosts.begin(), set.hosts.end(), h))
        return Error(ErrorCode::kConflict, "the plan uses a host that cannot boot the node");
      if (hosts[h].milli_vcpus < set.milli_vcpus || hosts[h].memory < set.memory)
        return Error(ErrorCode::kConflict, "the plan uses more of a host than is free");
      hosts[h].milli_vcpus -= set.milli_vcpus;
      hosts[h].memory -= set.memory;
    }
  }
  if (next != placement.host_of.size()) return Error(ErrorCode::kConflict, "the plan has too many nodes");
  return ok();
}

namespace {

/// True where a link is to go through memory that guests share: they have it from their boot on, or never.
bool asks_for_region(const topologies::Graph& graph) {
  for (topologies::LinkId id = 0; id < graph.link_count(); ++id)
    if (transport_from(graph.link(id).spec->transport) == Transport::kIvshmem) return true;
  return false;
}

std::vector<PlanNode> nodes_of(const Snapshot& snapshot, const Profile& profile, const Placement& placement) {
  std::vector<PlanNode> nodes;
  const bool region = asks_for_region(profile.graph);
  std::map<std::string, std::uint32_t> seats;
  std::size_t next = 0;
  for (const auto& machines : profile.machines) {
    for (std::uint32_t k = 0; k < machines.count; ++k, ++next) {
      const auto& host = snapshot.hosts.at(placement.host_of.at(next)).info;
      PlanNode node{.node = machines.name + "-" + std::to_string(k),
                    .host = host.name,
                    .driver = machines.driver,
                    .image = machines.image,
                    .image_digest = {},
                    .architecture = host.architecture,
                    .address = {},
                    .vcpus = machines.vcpus,
                    .memory = machines.memory,
                    .toolchain = {},
                    .machines = machines.name,
                    .existing = false,
                    .seat = 0};
      for (const auto& image : host.images) {
        if (image.name != machines.image) continue;
        node.image_digest = image.digest;
        for (const auto& toolchain : image.toolchains)
          node.toolchain += (node.toolchain.empty() ? "" : ", ") + toolchain;
        if (!image.architecture.empty()) node.architecture = image.architecture;
      }
      if (region && node.driver == "qemu" && seats[node.host] < host::kMostRegionSeats)
        node.seat = ++seats[node.host];
      nodes.push_back(std::move(node));
    }
  }
  return nodes;
}

/// The machines that would have to share a host, for people.
std::string machines_together(const Profile& profile, const std::vector<std::vector<std::size_t>>& groups) {
  std::string text;
  for (const auto& group : groups) {
    if (group.size() < 2) continue;
    text += text.empty() ? "" : "; ";
    for (std::size_t i = 0; i < group.size(); ++i)
      text += (i == 0 ? "" : ", ") + profile.machines[group[i]].name;
  }
  return text;
}

}  // namespace

Result<Plan> make_plan(const Snapshot& snapshot, const Profile& profile, const Placement& placement) {
  Plan plan{.nodes = nodes_of(snapshot, profile, placement), .node_of = {}, .born = {}, .codecs = {}};
  auto laid = lay_for_transports(profile, placement.layout, plan);
  if (laid) return plan;
  if (laid.error().code() != ErrorCode::kNoPlacement) return laid.error();
  const auto groups = sets_together(profile);
  const auto together = pack_together(prepare(snapshot, profile).problem, groups);
  if (together) {
    plan.nodes = nodes_of(snapshot, profile, *together);
    if (lay_for_transports(profile, placement.layout, plan)) return plan;
  }
  const auto machines = machines_together(profile, groups);
  return Error(
      ErrorCode::kNoPlacement,
      laid.error().message() + (together || machines.empty()
                                    ? ""
                                    : "\nno host has room for these machines together: " + machines));
}

Result<Plan> plan_in_lab(const Snapshot& snapshot, const Profile& profile) {
  Plan plan;
  std::string reasons;
  const auto add = [&](const std::string& reason) { reasons += (reasons.empty() ? "" : "\n") + reason; };
  const auto take = [&](const ExistingNode& node, const std::string& machines) {
    if (!node.up) add("node " + node.node + " of the lab is not up");
    plan.nodes.push_back({.node = node.node,
                          .host = node.host,
                          .driver = node.driver,
                          .image = node.image,
                          .image_digest = node.image_digest,
                          .architecture = node.architecture,
                          .address = node.address,
                          .vcpus = node.vcpus,
                          .memory = node.memory,
                          .toolchain = node.toolchain,
                          .machines = machines,
                          .existing = true,
                          .seat = node.seat});
  };
  if (profile.machines.empty()) {
    for (const auto& node : snapshot.nodes) take(node, node.machines);
    if (plan.nodes.empty()) add("the lab has no nodes");
  }
  std::unordered_map<std::string, const ExistingNode*> by_name;
  for (const auto& node : snapshot.nodes) by_name[node.node] = &node;
  for (const auto& machines : profile.machines) {
    for (std::uint32_t k = 0; k < machines.count; ++k) {
      const auto name = machines.name + "-" + std::to_string(k);
      const auto entry = by_name.find(name);
      if (entry == by_name.end()) {
        add("the lab has no node " + name);
        continue;
      }
      const auto* found = entry->second;
      if (found->driver != machines.driver || found->image != machines.image)
        add("node " + name + " of the lab is " + found->driver + " with image " + found->image + ", " +
            machines.driver + " with image " + machines.image + " asked");
      take(*found, machines.name);
    }
  }
  if (!reasons.empty()) return Error(ErrorCode::kNoPlacement, reasons);
  MVM_TRY(lay_for_transports(profile, Layout::kBlock, plan));
  return plan;
}

namespace {

/// How many of a job's processes each node of the plan may have, as far as its machines say; 0: any number.
std::vector<std::uint32_t> most_of(const Plan& plan, const Profile& profile) {
  std::vector<std::uint32_t> most;
  for (const auto& node : plan.nodes) {
    const auto machines = std::find_if(profile.machines.begin(), profile.machines.end(),
                                       [&](const auto& one) { return one.name == node.machines; });
    most.push_back(machines == profile.machines.end() ? 0 : machines->processes);
  }
  return most;
}

/// Seats new processes on the nodes of their pool: whichever nodes have fewest get more, until all have as
/// many; neighbours go together. kNoPlacement where `most` leaves no seat.
Status seat(const Pool& pool, const Profile& next, const std::vector<topologies::ProcessId>& fresh,
            const std::vector<std::uint32_t>& most, std::vector<std::uint32_t>& load, Plan& plan) {
  std::vector<std::uint32_t> given(plan.nodes.size());
  for (std::size_t k = 0; k < fresh.size(); ++k) {
    std::optional<std::uint32_t> best;
    for (const auto node : pool.nodes)
      if ((most[node] == 0 || load[node] < most[node]) && (!best || load[node] < load[*best])) best = node;
    if (!best) {
      std::string reasons =
          "no room for " + next.graph.process_name(fresh[k]) + " on the machines of its role:";
      for (const auto node : pool.nodes)
        reasons += "\nnode " + plan.nodes[node].node + " has " + std::to_string(load[node]) +
                   " processes, at most " + std::to_string(most[node]) + " are allowed on it";
      return Error(ErrorCode::kNoPlacement, reasons);
    }
    ++load[*best];
    ++given[*best];
  }
  std::size_t next_seat = 0;
  for (const auto node : pool.nodes)
    for (; given[node] > 0; --given[node]) plan.node_of[fresh[next_seat++]] = node;
  return ok();
}

}  // namespace

Result<Plan> follow_graph(const Plan& plan, const topologies::Graph& before, const Profile& next,
                          std::uint64_t number) {
  const auto& graph = next.graph;
  Plan result{.nodes = plan.nodes, .node_of = {}, .born = {}, .codecs = {}};
  result.node_of.resize(graph.process_count());
  std::vector<bool> fresh(graph.process_count());
  std::vector<std::uint32_t> load(plan.nodes.size());
  for (topologies::ProcessId p = 0; p < graph.process_count(); ++p) {
    const auto* role = before.find_role(graph.roles()[graph.role_of(p)].name);
    const auto index = graph.index_of(p);
    fresh[p] = role == nullptr || index >= role->count;
    if (fresh[p]) {
      result.born[p] = number;
      continue;
    }
    const auto old = role->first_process + index;
    result.node_of[p] = plan.node_of[old];
    ++load[plan.node_of[old]];
    if (const auto born = plan.born.find(old); born != plan.born.end()) result.born[p] = born->second;
  }
  if (std::find(fresh.begin(), fresh.end(), true) == fresh.end()) return result;
  MVM_ASSIGN(const auto pools, pools_of(next, plan.nodes));
  const auto most = most_of(plan, next);
  for (const auto& pool : pools) {
    std::vector<topologies::ProcessId> mine;
    for (const auto p : pool.processes)
      if (fresh[p]) mine.push_back(p);
    MVM_TRY(seat(pool, next, mine, most, load, result));
  }
  return result;
}

PlanOutcome plan(const Snapshot& snapshot, const Profile& profile) {
  PlanOutcome outcome;
  const auto split = [&](const std::string& text) {
    for (std::size_t at = 0; at <= text.size();) {
      const auto end = std::min(text.find('\n', at), text.size());
      outcome.reasons.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  };
  if (snapshot.in_lab) {
    auto made = plan_in_lab(snapshot, profile);
    if (made)
      outcome.plan = std::move(*made);
    else
      split(made.error().message());
    return outcome;
  }
  auto preparation = prepare(snapshot, profile);
  outcome.reasons = std::move(preparation.reasons);
  if (!outcome.reasons.empty()) return outcome;
  const auto placement = pack(preparation.problem);
  if (!placement) {
    outcome.reasons = explain_shortage(snapshot, profile, preparation.problem);
    return outcome;
  }
  auto made = make_plan(snapshot, profile, *placement);
  if (made)
    outcome.plan = std::move(*made);
  else
    split(made.error().message());
  return outcome;
}

}  // namespace mvm::broker
