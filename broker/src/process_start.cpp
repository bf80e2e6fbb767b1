// What starting a job's processes takes: their programs, their files, the calls.

#include <algorithm>

#include "jobs.h"

namespace mvm::broker {
namespace {

using host::HostAgent;
using nlohmann::json;
using topologies::ProcessId;

json limits_json(const topologies::ProcessLimits& limits) {
  json result = json::object();
  if (limits.cpu_ms > 0) result["cpu_s"] = (limits.cpu_ms + 999) / 1000;
  if (limits.memory > 0) result["memory"] = limits.memory;
  if (limits.file_size > 0) result["file_size"] = limits.file_size;
  if (limits.processes > 0) result["processes"] = limits.processes;
  if (limits.open_files > 0) result["open_files"] = limits.open_files;
  return result;
}

/// Starts a process. A program that is missing in a node that is there is the job's own fault.
Status start_process(HostAgent& agent, const std::string& lab, const std::string& node, const json& args,
                     std::chrono::milliseconds timeout) {
  auto reply = agent.call(lab, node, "proc.start", args, {}, timeout);
  if (reply) return ok();
  if (reply.error().code() != ErrorCode::kNotFound) return reply.error();
  if (!agent.call(lab, node, "node.info", json::object(), {}, timeout)) return reply.error();
  return Error(ErrorCode::kFailed, reply.error().describe());
}

}  // namespace

/// The archive that becomes the working directory of a process; empty: none.
std::string Jobs::tree_of(const Job& job, const std::vector<BuildNeed>& needs, std::uint32_t program,
                          std::uint32_t node) const {
  for (const auto& need : needs) {
    if (need.program != program || std::find(need.nodes.begin(), need.nodes.end(), node) == need.nodes.end())
      continue;
    const auto* built = core_.builds->find(need.key);
    return built == nullptr ? std::string() : built->digest;
  }
  return job.record.sources.at(program);
}

Jobs::Start Jobs::start_of(const Job& job, const topologies::Profile& profile, const Plan& plan,
                           const std::vector<BuildNeed>& needs, ProcessId process) const {
  const auto& graph = profile.graph;
  const auto& role = graph.roles()[graph.role_of(process)];
  const auto& program = profile.programs.at(graph.role_of(process));
  auto tree = tree_of(job, needs, graph.role_of(process), plan.node_of[process]);
  Start start;
  if (!tree.empty()) start.blobs.insert(tree);
  json staged = json::array();
  for (const auto& stage : profile.stage_in) {
    if (std::find(stage.to.begin(), stage.to.end(), process) == stage.to.end()) continue;
    staged.push_back({{"digest", stage.digest}, {"name", stage.name}});
    start.blobs.insert(stage.digest);
  }
  start.args = {{"proc", process_id(attempt(job), graph, plan, process)},
                {"attempt", attempt(job)},
                {"job", job.record.id},
                {"role", role.name},
                {"index", graph.index_of(process)},
                {"count", role.count},
                {"argv", program.argv},
                {"environment", program.environment},
                {"tree", std::move(tree)},
                {"staged", std::move(staged)},
                {"limits", limits_json(program.limits)},
                {"kind", "job"},
                {"wired", plan.born.contains(process)}};
  return start;
}

Hosts::Work Jobs::start_work(const Job& job, const std::string& node, std::set<std::string> blobs,
                             std::vector<json> calls) const {
  return [lab = job.record.lab, node, blobs = std::move(blobs), calls = std::move(calls),
          timeout = core_.config.call_timeout](HostAgent& agent) -> Status {
    for (const auto& digest : blobs) MVM_TRY(agent.send_blob(lab, node, digest));
    for (const auto& args : calls) MVM_TRY(start_process(agent, lab, node, args, timeout));
    return ok();
  };
}

}  // namespace mvm::broker
