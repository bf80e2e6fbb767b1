#include "process_entry.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using topologies::Deliver;
using topologies::Graph;
using topologies::ProcessId;

json ports_of(const Graph& graph, const WiringLayout& layout, ProcessId process) {
  std::span<const WiredEnd> ends(layout.ends);
  ends = ends.subspan(layout.first_end[process], layout.first_end[process + 1] - layout.first_end[process]);
  json ports = json::array();
  std::size_t next = 0;
  for (const auto& port : graph.ports_of(process)) {
    for (std::uint32_t index = 0; index < port.count; ++index) {
      const auto slot = port.first_slot + index;
      json joined = json::array();
      auto deliver = Deliver::kOneOf;
      for (; next < ends.size() && ends[next].slot == slot; ++next) {
        const auto& queue = layout.queues[ends[next].queue];
        if (port.direction == topologies::Direction::kOut) deliver = graph.link(queue.link).spec->deliver;
        json end = {{"queue", queue_id(queue)}, {"link", queue.tree}, {"slot", ends[next].queue_slot}};
        if (!ends[next].after.empty()) end["after"] = ends[next].after;
        joined.push_back(std::move(end));
      }
      ports.push_back({{"name", port.name},
                       {"index", index},
                       {"direction", to_string(port.direction)},
                       {"deliver", to_string(deliver)},
                       {"ends", std::move(joined)}});
    }
  }
  return ports;
}

}  // namespace

PartingProcess make_parting(const Wired& wired, ProcessId process) {
  const auto& graph = wired.graph;
  const auto& role = graph.roles()[graph.role_of(process)];
  return {.process = process_tag(graph, wired.plan, process),
          .role = role.name,
          .index = graph.index_of(process),
          .count = role.count,
          .node = wired.plan.node_of[process],
          .domain = wired.layout.domain_of[process],
          .ports = ports_of(graph, wired.layout, process)};
}

json parting_entry(const Wired& wired, const WiringContext& context, const json& parameters,
                   const PartingProcess& process) {
  json entry = {{"proc", context.attempt + "/" + process.process},
                {"role", process.role},
                {"index", process.index},
                {"count", process.count},
                {"job", context.job},
                {"parameters", parameters},
                {"ports", process.ports}};
  if (wired.layout.domains[process.domain].node.empty()) entry["node"] = wired.plan.nodes[process.node].node;
  return entry;
}

json process_entry(const Wired& wired, const WiringContext& context, const json& parameters,
                   ProcessId process) {
  return parting_entry(wired, context, parameters, make_parting(wired, process));
}

std::string process_tag(const Graph& graph, const Plan& plan, ProcessId process) {
  auto tag = graph.process_name(process);
  if (const auto born = plan.born.find(process); born != plan.born.end())
    tag += "+" + std::to_string(born->second);
  return tag;
}

std::string name_of_tag(const std::string& tag) { return tag.substr(0, tag.find('+')); }

std::optional<ProcessId> find_tag(const Graph& graph, const Plan& plan, const std::string& tag) {
  const auto process = graph.find_process(name_of_tag(tag));
  if (!process || process_tag(graph, plan, *process) != tag) return std::nullopt;
  return process;
}

std::string process_id(const std::string& attempt, const Graph& graph, const Plan& plan, ProcessId process) {
  return attempt + "/" + process_tag(graph, plan, process);
}

}  // namespace mvm::broker
