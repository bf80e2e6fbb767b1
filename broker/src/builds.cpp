#include "builds.h"

#include <algorithm>

#include "hosts.h"
#include "jobs.h"
#include "json_fields.h"
#include "labs.h"
#include "logs.h"
#include "mvm/base/digest.h"
#include "mvm/base/log.h"
#include "mvm/build/build_key.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kLastWords = 2000;

/// The order in which nodes are asked to compile: containers first, emulated guests last.
int reluctance(const PlanNode& node) {
  if (node.driver == "lxc") return 0;
  return node.driver == "process" ? 1 : 2;
}

std::optional<std::uint32_t> choose_builder(const Plan& plan, const std::string& architecture,
                                            const std::string& toolchain) {
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = 0; i < plan.nodes.size(); ++i) {
    const auto& node = plan.nodes[i];
    if (node.architecture != architecture || node.toolchain.empty()) continue;
    if (!toolchain.empty() && node.toolchain != toolchain) continue;
    if (!best || reluctance(node) < reluctance(plan.nodes[*best])) best = i;
  }
  return best;
}

std::string image_of(const PlanNode& node) {
  return node.image_digest.empty() ? node.image + " " + node.toolchain : node.image_digest;
}

}  // namespace

Result<std::vector<BuildNeed>> build_needs(const topologies::Profile& profile, const Plan& plan,
                                           const std::vector<std::string>& sources,
                                           const std::string& attempt, const std::string& version) {
  std::vector<BuildNeed> needs;
  std::vector<std::set<std::uint32_t>> nodes_of(profile.programs.size());
  for (std::uint32_t p = 0; p < profile.programs.size(); ++p)
    if (const auto* role = profile.graph.find_role(profile.programs[p].role))
      for (std::uint32_t i = 0; i < role->count; ++i)
        nodes_of[p].insert(plan.node_of[role->first_process + i]);
  for (std::uint32_t p = 0; p < profile.programs.size(); ++p) {
    const auto& program = profile.programs[p];
    if (!program.build) continue;
    std::map<std::string, BuildNeed> by_key;
    for (const auto n : nodes_of[p]) {
      const auto& node = plan.nodes[n];
      auto builder =
          program.build->on_self ? std::optional(n) : choose_builder(plan, node.architecture, node.toolchain);
      if (!builder || plan.nodes[*builder].toolchain.empty())
        return Error(ErrorCode::kInvalid, "role " + program.role + ": no node of architecture " +
                                              node.architecture + " has a toolchain to compile it");
      auto key = build::build_key({.source = sources[p],
                                   .command = program.build->command,
                                   .parameters = program.build->params,
                                   .image = image_of(plan.nodes[*builder]),
                                   .libmvm = version,
                                   .architecture = node.architecture});
      if (program.build->on_self) key = sha256_hex(key + "\n" + attempt + "\n" + node.node);
      auto& need =
          by_key
              .try_emplace(
                  key,
                  BuildNeed{.key = key, .program = p, .source = sources[p], .builder = *builder, .nodes = {}})
              .first->second;
      need.nodes.push_back(n);
    }
    for (auto& [key, need] : by_key) needs.push_back(std::move(need));
  }
  return needs;
}

Status Builds::load() {
  std::string after;
  for (;;) {
    MVM_ASSIGN(const auto page, core_.store.list("builds/", after, 500));
    if (page.empty()) return ok();
    for (const auto& entry : page) {
      MVM_ASSIGN(auto record, decode_build(entry.value));
      records_[record.key] = std::move(record);
    }
    after = page.back().key;
  }
}

void Builds::save(const BuildRecord& record) { core_.journal.put("builds/" + record.key, encode(record)); }

const BuildRecord* Builds::find(const std::string& key) const {
  const auto found = records_.find(key);
  return found != records_.end() && found->second.state == "done" ? &found->second : nullptr;
}

Builds::Standing Builds::standing(const BuildNeed& need, const std::string& job) {
  const auto found = records_.find(need.key);
  if (found == records_.end()) return Standing::kMine;
  const auto& record = found->second;
  if (record.state == "done") {
    if (core_.blobs.has(record.digest)) return Standing::kDone;
    forget(need.key);  // its output was lost from the store
    return Standing::kMine;
  }
  if (record.state == "failed" || record.job == job) return Standing::kMine;
  return core_.jobs->is_building(record.job) ? Standing::kOthers : Standing::kMine;
}

bool Builds::fetching(const std::string& key) const {
  const auto found = records_.find(key);
  return found != records_.end() && found->second.state == "fetching";
}

bool Builds::under_way(const std::string& key, const std::string& job) const {
  const auto found = records_.find(key);
  return found != records_.end() && found->second.job == job &&
         (found->second.state == "building" || found->second.state == "fetching");
}

void Builds::take(const BuildNeed& need, const std::string& job, const std::string& lab, const PlanNode& node,
                  const topologies::Program& program) {
  auto& record = records_[need.key];
  if (record.state == "building" && record.job == job && record.lab == lab && record.node == node.node)
    return;
  core_.logs->erase("build/" + need.key);
  record = BuildRecord{.key = need.key,
                       .state = "building",
                       .role = program.role,
                       .image = node.image,
                       .architecture = node.architecture,
                       .command = program.build->command,
                       .source = need.source,
                       .job = job,
                       .lab = lab,
                       .host = node.host,
                       .node = node.node,
                       .digest = {},
                       .reason = {},
                       .at_ms = core_.clock.wall_ms(),
                       .size = 0,
                       .wall_ms = 0,
                       .hits = 0,
                       .user = core_.jobs->user_of(job)};
  save(record);
}

void Builds::hit(const std::string& key) {
  auto& record = records_[key];
  ++record.hits;
  save(record);
}

std::set<std::string> Builds::waiting(const std::string& key) const {
  const auto found = waiters_.find(key);
  return found == waiters_.end() ? std::set<std::string>() : found->second;
}

void Builds::forget(const std::string& key) {
  words_.erase(key);
  records_.erase(key);
  core_.journal.erase("builds/" + key);
}

void Builds::release(const std::string& job) {
  std::vector<std::string> mine;
  for (const auto& [key, record] : records_)
    if (record.job == job && (record.state == "building" || record.state == "fetching")) mine.push_back(key);
  for (auto& [key, jobs] : waiters_) jobs.erase(job);
  std::erase_if(waiters_, [](const auto& entry) { return entry.second.empty(); });
  for (const auto& key : mine) {
    const auto record = records_.at(key);
    const auto* lab = core_.labs->find(record.lab);
    if (lab != nullptr && !lab->record.ephemeral)  // elsewhere the node ends with its lab
      core_.hosts->with(
          record.host,
          [record, timeout = core_.config.call_timeout](host::HostAgent& agent) -> Status {
            MVM_TRY(agent.call(record.lab, record.node, "build.cancel", {{"key", record.key}}, {}, timeout));
            return ok();
          },
          [](const Status&) {});
    forget(key);
    for (const auto& other : waiting(key)) core_.jobs->build_changed(other);
  }
}

void Builds::output(const std::string& key, const std::string& node, std::uint64_t offset,
                    const std::string& text) {
  const auto found = records_.find(key);
  if (found == records_.end() || found->second.state != "building") return;
  const LogRecord piece{.process = found->second.role,
                        .node = node,
                        .stream = "build",
                        .offset = offset,
                        .at_ms = 0,
                        .text = text};
  core_.logs->append("build/" + key, piece);
  auto& words = words_[key];
  words += text;
  if (words.size() > kLastWords) words.erase(0, words.size() - kLastWords);
  for (const auto& job : waiting(key)) core_.logs->append("job/" + job, piece);
}

void Builds::done(const std::string& key, const std::string& lab, const std::string& node,
                  const nlohmann::json& args) {
  const auto found = records_.find(key);
  if (found == records_.end() || found->second.state != "building") return;
  auto& record = found->second;
  if (record.lab != lab || record.node != node) return;  // of an attempt that counts no more
  record.wall_ms = fields::number(args, "wall_ms");
  record.at_ms = core_.clock.wall_ms();
  const auto output = fields::object(args, "output");
  if (fields::flag(args, "ok") && is_sha256(fields::text(output, "digest"))) {
    words_.erase(key);
    record.state = "fetching";
    record.digest = fields::text(output, "digest");
    record.size = fields::number(output, "size");
    save(record);
    core_.journal.after_commit([this, key] { fetch(key); });
    return;
  }
  record.state = "failed";
  std::string reason = fields::text(args, "reason");
  if (reason.empty())
    reason = fields::small(args, "signal") != 0
                 ? "ended by signal " + std::to_string(fields::small(args, "signal"))
                 : "exit code " + std::to_string(fields::small(args, "code"));
  record.reason = "build of role " + record.role + " failed: " + reason;
  save(record);
  // Its last words; after a restart those that are in the store.
  auto words = std::move(words_[key]);
  words_.erase(key);
  if (words.empty()) words = core_.logs->tail("build/" + key, kLastWords);
  for (const auto& job : waiting(key))
    core_.jobs->build_failed(job, record.reason + (words.empty() ? "" : "\n" + words));
  waiters_.erase(key);
}

void Builds::fetch(const std::string& key) {
  const auto found = records_.find(key);
  if (found == records_.end() || found->second.state != "fetching") return;
  const auto& record = found->second;
  core_.hosts->with(
      record.host,
      [lab = record.lab, node = record.node, digest = record.digest](host::HostAgent& agent) {
        return agent.fetch_blob(lab, node, digest);
      },
      [this, key](const Status& status) { fetched(key, status); });
}

void Builds::fetched(const std::string& key, const Status& status) {
  const auto found = records_.find(key);
  if (found == records_.end() || found->second.state != "fetching") return;
  auto& record = found->second;
  if (!status) {
    core_.jobs->build_lost(record.job, "binary of role " + record.role + ": " + status.error().describe());
    return;
  }
  record.state = "done";
  save(record);
  core_.journal.event({.event = "build.done",
                       .lab = record.lab,
                       .job = record.job,
                       .node = record.node,
                       .detail = "role " + record.role + " for " + record.architecture,
                       .user = core_.jobs->user_of(record.job)});
  const auto jobs = waiting(key);
  waiters_.erase(key);
  for (const auto& job : jobs) core_.jobs->build_changed(job);
}

std::vector<soap::BuildView> Builds::views() const {
  std::vector<soap::BuildView> views;
  for (const auto& [key, r] : records_)
    views.push_back({.key = r.key,
                     .state = r.state,
                     .role = r.role,
                     .image = r.image,
                     .architecture = r.architecture,
                     .command = r.command,
                     .node = r.lab + "/" + r.node,
                     .digest = r.digest,
                     .at_ms = r.at_ms,
                     .size = r.size,
                     .wall_ms = r.wall_ms,
                     .hits = r.hits});
  return views;
}

std::string Builds::state(const std::string& key) const {
  const auto found = records_.find(key);
  return found == records_.end() ? std::string() : found->second.state;
}

bool Builds::involves(const std::string& key, const std::string& user) const {
  const auto found = records_.find(key);
  if (found == records_.end()) return false;
  return found->second.user == user;
}

std::uint64_t Builds::drop(const std::string& key) {
  std::vector<std::string> gone;
  for (const auto& [name, record] : records_)
    if ((key.empty() || name == key) && (record.state == "done" || record.state == "failed") &&
        !core_.jobs->uses_build(name))
      gone.push_back(name);
  for (const auto& name : gone) {
    core_.logs->erase("build/" + name);
    forget(name);
  }
  return gone.size();
}

}  // namespace mvm::broker
