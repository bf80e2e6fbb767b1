#include "mvm/broker/planner.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <unordered_map>

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
  auto hosts = problem.hosts;
  // The most used host first, so that empty ones stay empty.
  std::vector<std::uint32_t> order(hosts.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    const auto used = [&](const auto& host) {
      return host.milli_vcpus_all - std::min(host.milli_vcpus, host.milli_vcpus_all);
    };
    return used(hosts[a]) > used(hosts[b]);
  });
  std::vector<std::uint32_t> rank(hosts.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
  for (const auto& set : problem.sets) {
    auto candidates = set.hosts;
    std::sort(candidates.begin(), candidates.end(), [&](auto a, auto b) { return rank[a] < rank[b]; });
    std::size_t at = 0;
    for (std::uint32_t k = 0; k < set.count; ++k) {
      while (at < candidates.size() && (hosts[candidates[at]].milli_vcpus < set.milli_vcpus ||
                                        hosts[candidates[at]].memory < set.memory))
        ++at;
      if (at == candidates.size()) return std::nullopt;
      auto& host = hosts[candidates[at]];
      host.milli_vcpus -= set.milli_vcpus;
      host.memory -= set.memory;
      placement.host_of.push_back(candidates[at]);
    }
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

Result<Plan> make_plan(const Snapshot& snapshot, const Profile& profile, const Placement& placement) {
  Plan plan;
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
                    .existing = false};
      for (const auto& image : host.images) {
        if (image.name != machines.image) continue;
        node.image_digest = image.digest;
        for (const auto& toolchain : image.toolchains)
          node.toolchain += (node.toolchain.empty() ? "" : ", ") + toolchain;
        if (!image.architecture.empty()) node.architecture = image.architecture;
      }
      plan.nodes.push_back(std::move(node));
    }
  }
  MVM_ASSIGN(plan.node_of, lay(profile, plan.nodes, placement.layout));
  return plan;
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
                          .existing = true});
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
  MVM_ASSIGN(plan.node_of, lay(profile, plan.nodes, Layout::kBlock));
  return plan;
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
