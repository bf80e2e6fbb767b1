#include "submission.h"

#include <algorithm>

#include "mvm/topologies/limits.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kMaxSettings = 1000;

Status too_many(const char* what, std::uint64_t found, std::uint64_t limit) {
  return Error(ErrorCode::kExhausted, std::string(what) + ": found " + std::to_string(found) + ", at most " +
                                          std::to_string(limit) + " are taken");
}

Status check_blob(const BlobStore& blobs, const std::string& digest, const std::string& what) {
  if (digest.empty())
    return Error(ErrorCode::kInvalid, what + " is a path; upload it and name its digest (mvm submit does)");
  if (!blobs.has(digest))
    return Error(ErrorCode::kInvalid, what + " is not in the store: upload blob " + digest);
  return ok();
}

}  // namespace

std::vector<soap::Diagnostic> to_soap(const std::vector<topologies::Diagnostic>& diagnostics) {
  std::vector<soap::Diagnostic> result;
  for (const auto& d : diagnostics)
    result.push_back({.file = d.file, .line = d.line, .column = d.column, .message = d.text()});
  return result;
}

ReadSubmission read_submission(const soap::SubmitRequest& request) {
  ReadSubmission result;
  const auto fault = [&](std::string message) {
    result.diagnostics.push_back({.fault = topologies::Fault::kMeaning,
                                  .file = request.file,
                                  .line = 0,
                                  .column = 0,
                                  .message = std::move(message),
                                  .suggestion = {}});
    return result;
  };
  if (request.profile.size() > topologies::kMaxFileBytes)
    return fault("the profile is longer than " + std::to_string(topologies::kMaxFileBytes >> 20U) + " MiB");
  if (request.settings.size() > kMaxSettings) return fault("more than 1000 settings");
  topologies::ReadOptions options;
  options.set = request.settings;
  auto read = topologies::read_profile(request.profile, request.file, options);
  result.diagnostics = std::move(read.diagnostics);
  if (read.profile) result.profile = std::make_shared<const topologies::Profile>(std::move(*read.profile));
  return result;
}

Status check_job(const topologies::Profile& profile, const BrokerLimits& limits, const BlobStore& blobs,
                 bool in_lab) {
  if (!profile.has_job) return Error(ErrorCode::kInvalid, "the file holds no job");
  if (profile.graph.process_count() > limits.processes_of_job)
    return too_many("processes", profile.graph.process_count(), limits.processes_of_job);
  if (profile.graph.link_count() > limits.links_of_job)
    return too_many("links", profile.graph.link_count(), limits.links_of_job);
  std::uint64_t nodes = 0;
  for (const auto& machines : profile.machines) nodes += machines.count;
  if (nodes > limits.nodes_of_lab) return too_many("machines", nodes, limits.nodes_of_lab);
  if (nodes == 0 && !in_lab)
    return Error(ErrorCode::kInvalid,
                 "the profile names no machines; name some, or submit it to a lab that has them");
  for (const auto& role : profile.graph.roles()) {
    const bool held =
        profile.machines.empty() ||
        std::any_of(profile.machines.begin(), profile.machines.end(), [&](const auto& machines) {
          return machines.count > 0 &&
                 std::find(machines.roles.begin(), machines.roles.end(), role.name) != machines.roles.end();
        });
    if (role.count > 0 && !held) return Error(ErrorCode::kInvalid, "role " + role.name + " has no machines");
  }
  for (const auto& program : profile.programs)
    for (const auto& source : program.sources)
      if (source.kind != topologies::Source::Kind::kInline)
        MVM_TRY(check_blob(blobs, source.digest, "the source of role " + program.role));
  for (const auto& stage : profile.stage_in)
    MVM_TRY(check_blob(blobs, stage.digest, "staged file " + stage.name));
  return ok();
}

}  // namespace mvm::broker
