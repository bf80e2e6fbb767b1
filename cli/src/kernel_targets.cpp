#include "kernel_targets.h"

#include <algorithm>

#include "common.h"
#include "format.h"

namespace mvm::cli {
namespace {

bool is_number(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Result<std::string> only_lab(Session& session) {
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto labs, api.labs.labs(session.caller()));
  if (labs.size() == 1) return labs[0].id;
  session.hint("mvm lab list");
  return Error(ErrorCode::kInvalid,
               "found " + count_of(labs.size(), "lab") + ", expected one: say LAB or LAB/NODE");
}

/// One of those between the commas: a lab and, unless all of it is meant, a node.
Result<std::pair<std::string, std::string>> resolve_one(Session& session, const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash != std::string::npos) {
    MVM_ASSIGN(std::string lab, resolve_lab_or_job(session, text.substr(0, slash)));
    const std::string node = text.substr(slash + 1);
    return std::pair(lab, node == "all" || node == "*" ? "" : node);
  }
  if (text == "all") {
    MVM_ASSIGN(std::string lab, only_lab(session));
    return std::pair(lab, std::string());
  }
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto labs, api.labs.labs(session.caller()));
  const bool lab = std::any_of(labs.begin(), labs.end(),
                               [&](const soap::LabView& one) { return one.id == text || one.name == text; });
  if (lab || is_number(text)) {
    MVM_ASSIGN(std::string id, resolve_lab_or_job(session, text));
    return std::pair(id, std::string());
  }
  MVM_ASSIGN(const soap::VmView vm, resolve_vm(session, text, ""));
  return std::pair(vm.lab, vm.node);
}

}  // namespace

Result<std::string> resolve_lab_or_job(Session& session, const std::string& text) {
  if (!is_number(text)) return resolve_lab(session, text);
  MVM_ASSIGN(auto api, session.api());
  auto job = api.jobs.job(session.caller(), text);
  if (!job) return not_known(session, job.error(), "mvm job list");
  return job->job.lab;
}

Result<std::string> node_of_lab(const std::string& text, const std::string& lab, const std::string& called,
                                const char* what) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) return text;
  if (const std::string named = text.substr(0, slash); named != lab && named != called)
    return Error(ErrorCode::kInvalid,
                 "found node " + text + ", expected one of lab " + lab + ": " + what + " is one lab's");
  return text.substr(slash + 1);
}

Result<soap::KernelTargets> resolve_targets(Session& session, const std::string& text) {
  soap::KernelTargets targets;
  bool all = false;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string one = text.substr(at, comma - at);
    at = comma + 1;
    if (one.empty())
      return Error(ErrorCode::kInvalid,
                   "--on: found \"" + text + "\", expected LAB, JOB, NODE or LAB/NODE, with commas");
    MVM_ASSIGN(const auto found, resolve_one(session, one));
    if (!targets.lab.empty() && targets.lab != found.first)
      return Error(ErrorCode::kInvalid, "--on: found kernels of the labs " + targets.lab + " and " +
                                            found.first + ", expected those of one lab");
    targets.lab = found.first;
    all = all || found.second.empty();
    targets.nodes.push_back(found.second);
  }
  if (all) targets.nodes.clear();
  return targets;
}

Result<soap::KernelTargets> resolve_scope(Session& session, const std::string& scope,
                                          const std::string& node) {
  if (scope.empty()) return soap::KernelTargets{};
  if (node.empty()) return resolve_targets(session, scope);
  return resolve_targets(session, scope + "/" + node);
}

}  // namespace mvm::cli
