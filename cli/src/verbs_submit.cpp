// mvm submit

#include <ostream>

#include "common.h"
#include "follow.h"
#include "format.h"
#include "mvm/base/digest.h"
#include "profile_file.h"

namespace mvm::cli {
namespace {

using std::chrono::milliseconds;

struct SubmitOptions {
  std::shared_ptr<FileOptions> file;
  std::string wait;  ///< "", "yes" or "code"
  std::string lab, out, retry_for = "60s";
  bool detach = false, parsable = false, dry_run = false;
};

Json result_json(const std::vector<soap::ResultFile>& files,
                 const std::vector<std::filesystem::path>& fetched) {
  Json all = Json::array();
  for (std::size_t i = 0; i < files.size(); ++i) {
    all.push_back({{"name", files[i].name},
                   {"process", files[i].process},
                   {"size", files[i].size},
                   {"digest", files[i].digest},
                   {"file", i < fetched.size() ? fetched[i].lexically_normal().string() : ""}});
  }
  return all;
}

/// What a process ended with, for people.
void tell_bad_processes(Session& session, const soap::JobDetail& detail) {
  std::size_t told = 0;
  for (const soap::ProcessView& process : detail.processes) {
    if (process.code == 0 && process.signal == 0) continue;
    if (++told > 10) {
      session.err() << "  and more: mvm job status " << detail.job.id << '\n';
      return;
    }
    session.err() << "  " << one_line(process.process) << " on " << one_line(process.node);
    if (process.signal != 0) {
      session.err() << ": ended by signal " << process.signal << '\n';
    } else {
      session.err() << ": exit code " << process.code << '\n';
    }
  }
}

void tell_end(Session& session, const FollowOutcome& outcome) {
  const soap::JobView& job = outcome.job.job;
  std::ostream& err = session.err();
  const std::string took = human_duration(job.ended_ms > 0 ? job.ended_ms - job.submitted_ms : 0);
  if (job.state == "DONE") {
    err << "mvm: job " << job.id << " done in " << took << " on " << count_of(job.nodes, "node") << '\n';
    return;
  }
  err << (job.state == "CANCELLED" ? "mvm: job " : "mvm: error: job ") << job.id << ' '
      << (job.state == "CANCELLED" ? "cancelled" : "failed") << " after " << took;
  if (!job.reason.empty()) err << ": " << one_line(job.reason);
  err << '\n';
  if (job.state == "FAILED") {
    for (const std::string& line : outcome.build_tail) err << "  " << harmless(line) << '\n';
    tell_bad_processes(session, outcome.job);
  }
}

/// The exit code of a job that ended.
int code_of(const soap::JobView& job, const SubmitOptions& options) {
  if (options.wait == "code") {
    if (job.state == "DONE" || job.exit_code != 0) return job.exit_code;
    return kOperationFailed;
  }
  return job.state == "DONE" ? kDone : kOperationFailed;
}

Result<int> wait_for(Session& session, const std::string& id, const SubmitOptions& options,
                     milliseconds patience) {
  auto followed = follow_job(session, id, patience);
  if (!followed) {
    session.hint("mvm job status " + id);
    return followed.error();
  }
  const soap::JobView& job = followed->job.job;
  if (followed->detached) {
    session.err() << "mvm: job " << id << " goes on without you\n";
    session.hint("mvm job logs -f " + id);
    session.hint("mvm job cancel " + id);
    return kDetached;
  }
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto files,
             patiently(session, patience, [&] { return api.jobs.results(session.caller(), id); }));
  const std::filesystem::path folder = out_folder(session, options.out);
  const auto fetched = fetch_results(session, files, folder);
  tell_end(session, *followed);
  if (!session.as_table()) {
    Json json = schema_object("submission");
    json["id"] = id;
    json["job"] = job_json(job, session.context().clock.wall_ms());
    json["results"] = result_json(files, fetched ? *fetched : std::vector<std::filesystem::path>{});
    print_json(session.out(), session.format(), json);
  }
  if (!fetched) {
    session.hint("mvm job result " + id);
    return fetched.error();
  }
  for (std::size_t i = 0; i < files.size(); ++i) {
    session.err() << "mvm: result " << (*fetched)[i].lexically_normal().string() << " ("
                  << human_bytes(files[i].size) << ")\n";
  }
  if (job.state == "FAILED") session.hint("mvm job why " + id);
  session.hint(job.state == "DONE" ? "mvm job status " + id : "mvm job logs " + id);
  return code_of(job, options);
}

/// Says what would be submitted, and whether it could be placed.
Result<int> dry_run(Session& session, const Prepared& prepared) {
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto view, api.jobs.plan(session.caller(), prepared.request));
  std::vector<std::string> digests;
  for (const Upload& upload : prepared.uploads) digests.push_back(upload.digest);
  std::vector<std::string> missing;
  if (!digests.empty()) {
    MVM_ASSIGN(missing, api.store.missing_blobs(session.caller(), digests));
  }
  Record record("dry-run");
  record.field("Would submit", "name", view.name);
  record.field("Nodes", "nodes", view.nodes.size());
  record.field("Processes", "processes", view.process_count);
  record.field("Links", "links", view.link_count);
  record.field("Builds", "builds", {join(view.builds, "\n"), view.builds});
  record.field("Uploads", "uploads",
               {std::to_string(missing.size()) + " of " + std::to_string(digests.size()), missing.size()});
  record.field("Cannot be placed now", "reasons",
               {view.reasons.empty() ? "-" : join(view.reasons, "\n"), view.reasons});
  session.print(record);
  return view.reasons.empty() ? kDone : kNotPlaceable;
}

Result<int> submit(Session& session, const SubmitOptions& options) {
  if (!options.wait.empty() && options.wait != "yes" && options.wait != "code") {
    return Error(ErrorCode::kInvalid, "--wait: found '" + options.wait + "', expected nothing or 'code'");
  }
  MVM_ASSIGN(const milliseconds patience, parse_time(options.retry_for));
  MVM_ASSIGN(Prepared prepared, Prepared::prepare(session, *options.file));
  if (!prepared.profile.has_job) {
    session.hint("mvm lab create " + options.file->file);
    return Error(ErrorCode::kInvalid, options.file->file + ": found a " +
                                          std::string(topologies::to_string(prepared.profile.kind)) +
                                          " without a job, expected one with a job");
  }
  MVM_ASSIGN(auto api, session.api());
  if (!options.lab.empty()) {
    MVM_ASSIGN(prepared.request.lab, resolve_lab(session, options.lab));
  }
  if (options.dry_run) return dry_run(session, prepared);
  MVM_TRY(upload_missing(session, prepared.uploads));
  // Our own id of this submission: sent again after a lost answer, it still submits once.
  prepared.request.request = random_hex(16);
  auto submitted = patiently(session, milliseconds(5000),
                             [&] { return api.jobs.submit(session.caller(), prepared.request); });
  if (!submitted) {
    if (submitted.error().code() == ErrorCode::kNoPlacement) session.hint("mvm plan " + options.file->file);
    return submitted.error();
  }
  const std::string& id = *submitted;
  const bool wait = !options.wait.empty() && !options.detach;
  if (options.parsable) {
    session.out() << id << '\n';
    session.out().flush();
  } else if (wait) {
    session.err() << "mvm: job " << id << " submitted\n";
  } else if (session.as_table()) {
    session.out() << "job " << id << " submitted\n";
    session.hint("mvm job logs -f " + id);
  } else {
    Json json = schema_object("submission");
    json["id"] = id;
    print_json(session.out(), session.format(), json);
  }
  if (!wait) return kDone;
  return wait_for(session, id, options, patience);
}

}  // namespace

void add_submit_verb(Grammar& grammar) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App& verb = grammar.verb(
      grammar.root(), "submit", "hands a job over; with --wait follows it and fetches its results",
      {"mvm submit job.xml", "mvm submit job.xml --set n=8 --set steps=100 --wait",
       "mvm submit job.xml --wait=code --out results", "id=$(mvm submit job.xml --parsable)"},
      [options](Session& session) { return submit(session, *options); });
  options->file = add_file(grammar, verb);
  CLI::Option* wait =
      verb.add_option("--wait", options->wait, "follow it to its end; =code: return the job's own exit code")
          ->type_name("[=code]");
  grammar.value_optional(wait, "yes");
  verb.add_flag("--detach", options->detach, "do not wait, whatever MVM_WAIT says");
  verb.add_flag("--parsable", options->parsable, "print the job's id alone");
  grammar.completes(
      verb.add_option("--lab", options->lab, "run in this lab instead of one of its own")->type_name("LAB"),
      Completes::kLab);
  grammar.completes(verb.add_option("--out", options->out, "folder for the results (here)")->type_name("DIR"),
                    Completes::kFile);
  verb.add_option("--retry-for", options->retry_for, "how long to look for a broker that went away")
      ->type_name("TIME");
  verb.add_flag("--dry-run", options->dry_run, "only say what would be done");
}

}  // namespace mvm::cli
