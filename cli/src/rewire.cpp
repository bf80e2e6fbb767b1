#include "rewire.h"

#include "common.h"
#include "format.h"
#include "mvm/base/file.h"
#include "mvm/topologies/bundle.h"

namespace mvm::cli {
namespace {

/// "1. make a queue ...", one a line.
std::string numbered(const std::vector<std::string>& steps) {
  std::string text;
  for (std::size_t i = 0; i < steps.size(); ++i)
    text += (i == 0 ? "" : "\n") + std::to_string(i + 1) + ". " + steps[i];
  return text.empty() ? "-" : text;
}

void print(Session& session, const soap::RewireView& view, const std::vector<std::string>& steps) {
  Record record("rewiring");
  record.field("Job", "job", view.job);
  record.field("Lab", "lab", view.lab);
  record.field("", "number", view.number);
  record.field("Wiring", "state", view.state);
  if (!view.reason.empty()) record.field("Reason", "reason", view.reason);
  record.field("Links added", "added", view.added);
  record.field("Links removed", "removed", view.removed);
  record.field("Links redirected", "redirected", view.redirected);
  record.field("Links changed", "changed", view.changed);
  record.field("Links unchanged", "unchanged", view.unchanged);
  record.field("Steps", "steps", {numbered(steps), steps});
  record.field("Draining", "draining",
               {view.draining.empty() ? "-" : join(view.draining, "\n"), view.draining});
  session.print(record);
}

}  // namespace

void add_rewire_options(CLI::App& verb, RewireOptions& options) {
  verb.add_option("--deadline", options.deadline, "prepared by then, or all of it undone")->type_name("TIME");
  verb.add_flag("--dry-run", options.dry_run, "only print the steps");
}

Result<int> rewire(Session& session, soap::RewireRequest request, const RewireOptions& options) {
  MVM_ASSIGN(request.deadline, parse_time(options.deadline));
  request.dry_run = options.dry_run;
  MVM_ASSIGN(auto api, session.api());
  auto begun = api.labs.rewire(session.caller(), request);
  if (!begun) return not_known(session, begun.error(), "mvm job list");
  const std::vector<std::string> steps = begun->steps;
  soap::RewireView view = std::move(*begun);
  // The broker may be away meanwhile: what it began, it finishes or undoes.
  Pacer pacer(session);
  while (view.state == "preparing") {
    pacer.begin();
    MVM_ASSIGN(view, patiently(session, std::chrono::seconds(60), [&] {
                 return api.labs.rewiring(session.caller(), view.job, view.number, kLongPoll);
               }));
    pacer.end(view.state != "preparing");
  }
  if (view.state == "undone")
    return Error(ErrorCode::kAborted, "job " + view.job + " keeps its wiring: " + view.reason);
  print(session, view, steps);
  return kDone;
}

Result<int> apply_topology(Session& session, const std::string& target, const FileOptions& file,
                           const RewireOptions& options) {
  MVM_TRY(read_profile(file));
  MVM_ASSIGN(const std::string xml, read_file(file.file, topologies::kMaxFileBytes));
  topologies::FileResolver resolver;
  const topologies::BundleResult bundled = topologies::bundle(xml, file.file, resolver);
  if (!bundled.diagnostics.empty()) return topologies::to_error(bundled.diagnostics);
  soap::RewireRequest request;
  request.target = target;
  request.profile = bundled.bundle.xml;
  request.file = file.file;
  MVM_ASSIGN(request.settings, parse_settings(file.set));
  return rewire(session, std::move(request), options);
}

}  // namespace mvm::cli
