// mvm job ...

#include <algorithm>
#include <ostream>

#include "common.h"
#include "follow.h"
#include "format.h"

namespace mvm::cli {
namespace {

using Ids = std::shared_ptr<std::vector<std::string>>;

std::shared_ptr<std::string> add_job_id(Grammar& grammar, CLI::App& verb) {
  auto id = std::make_shared<std::string>();
  grammar.completes(verb.add_option("JOB", *id, "the job's id")->required(), Completes::kJob);
  return id;
}

Ids add_job_ids(Grammar& grammar, CLI::App& verb) {
  auto ids = std::make_shared<std::vector<std::string>>();
  grammar.completes(verb.add_option("JOB", *ids, "ids of jobs")->required(), Completes::kJob);
  return ids;
}

/// The job, or what to try where there is none.
Result<soap::JobDetail> find_job(Session& session, const std::string& id) {
  MVM_ASSIGN(auto api, session.api());
  auto job = api.jobs.job(session.caller(), id);
  if (!job) return not_known(session, job.error(), "mvm job list --all");
  return job;
}

// ---- list

void add_list(Grammar& grammar, CLI::App& noun) {
  struct Options {
    bool all = false;
    std::string lab, user;
    std::shared_ptr<Watch> watch;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(noun, "list", "jobs on their way; with --all those that ended, too",
                                {"mvm job list", "mvm job list --all -o json", "mvm job list --watch=1s"},
                                [options](Session& session) -> Result<int> {
                                  return show<Listing>(session, *options->watch, [&]() -> Result<Listing> {
                                    MVM_ASSIGN(auto api, session.api());
                                    MVM_ASSIGN(auto jobs, api.jobs.jobs(session.caller(), options->all));
                                    std::erase_if(jobs, [&](const soap::JobView& job) {
                                      return (!options->lab.empty() && job.lab != options->lab) ||
                                             (!options->user.empty() && job.user != options->user);
                                    });
                                    return job_listing(jobs, session.context().clock.wall_ms());
                                  });
                                });
  verb.add_flag("-a,--all", options->all, "those that ended, too");
  grammar.completes(verb.add_option("--lab", options->lab, "only of this lab")->type_name("LAB"),
                    Completes::kLab);
  verb.add_option("--user", options->user, "only of this user")->type_name("USER");
  options->watch = add_watch(grammar, verb);
}

// ---- status

Json processes_json(const soap::JobDetail& detail) {
  Json all = Json::array();
  for (const soap::ProcessView& process : detail.processes) {
    Json json = Json::object();
    json["process"] = process.process;
    json["node"] = process.node;
    json["state"] = process.state;
    json["code"] = process.code;
    json["signal"] = process.signal;
    json["user_ms"] = process.user_ms;
    json["system_ms"] = process.system_ms;
    json["max_rss"] = process.max_rss;
    all.push_back(json);
  }
  return all;
}

std::string processes_text(const soap::JobDetail& detail) {
  std::string text;
  for (const soap::ProcessView& process : detail.processes) {
    if (!text.empty()) text += '\n';
    text += process.process + " on " + (process.node.empty() ? "-" : process.node) + ": " + process.state;
    if (process.state == "exited" || (process.state == "left" && process.code != 0))
      text += " with " + std::to_string(process.code);
    if (process.signal != 0) text += " by signal " + std::to_string(process.signal);
    text += ", cpu " + human_duration(static_cast<std::int64_t>(process.user_ms + process.system_ms));
    if (process.max_rss > 0) text += ", memory " + human_bytes(process.max_rss);
  }
  return text;
}

Record status_record(const soap::JobDetail& detail, std::int64_t now) {
  const soap::JobView& job = detail.job;
  const Json json = job_json(job, now);
  Record record("job-status");
  record.field("Job", "id", job.id);
  record.field("Name", "name", job.name);
  record.field("Lab", "lab", job.lab);
  record.field("User", "user", job.user);
  record.field("State", "state",
               {job.state + (job.cancel_asked && !is_final(job.state) ? " (cancelling)" : ""), job.state,
                colour_of_state(job.state)});
  record.field("Progress", "progress", job.progress);
  record.field("Reason", "reason", job.reason);
  record.field("Time", "time_ms", {human_duration(elapsed_ms(job, now)), json["time_ms"]});
  record.field("Submitted", "submitted", {local_time(job.submitted_ms), json["submitted"]});
  record.field("Started", "started", {local_time(job.started_ms), json["started"]});
  record.field("Ended", "ended", {local_time(job.ended_ms), json["ended"]});
  record.field("Attempt", "attempt", job.attempt);
  record.field("Nodes", "nodes", job.nodes);
  record.field("Hosts", "where", {join(job.where, ", "), job.where});
  record.field(is_final(job.state) ? "Exit code" : "", "exit_code", job.exit_code);
  record.field("", "cancel_asked", {"", job.cancel_asked});
  record.field("Processes", "processes", {processes_text(detail), processes_json(detail)});
  return record;
}

void add_status(Grammar& grammar, CLI::App& noun) {
  auto watch = std::make_shared<std::shared_ptr<Watch>>();
  auto id = std::make_shared<std::shared_ptr<std::string>>();
  CLI::App& verb = grammar.verb(noun, "status", "one job with its processes",
                                {"mvm job status job-7", "mvm job status job-7 -o json"},
                                [watch, id](Session& session) -> Result<int> {
                                  return show<Record>(session, **watch, [&]() -> Result<Record> {
                                    MVM_ASSIGN(const auto detail, find_job(session, **id));
                                    return status_record(detail, session.context().clock.wall_ms());
                                  });
                                });
  *id = add_job_id(grammar, verb);
  *watch = add_watch(grammar, verb);
}

// ---- why, history

void add_why(Grammar& grammar, CLI::App& noun) {
  auto id = std::make_shared<std::shared_ptr<std::string>>();
  CLI::App& verb = grammar.verb(
      noun, "why", "every reason for a job's present wait or for its end", {"mvm job why job-7"},
      [id](Session& session) -> Result<int> {
        MVM_ASSIGN(const auto detail, find_job(session, **id));
        std::vector<std::string> reasons = detail.why;
        if (reasons.empty() && !detail.job.reason.empty()) reasons.push_back(detail.job.reason);
        Record record("job-why");
        record.field("Job", "id", detail.job.id);
        record.field("State", "state",
                     {detail.job.state, detail.job.state, colour_of_state(detail.job.state)});
        record.field("Why", "why", {reasons.empty() ? "nothing holds it up" : join(reasons, "\n"), reasons});
        session.print(record);
        return kDone;
      });
  *id = add_job_id(grammar, verb);
}

void add_history(Grammar& grammar, CLI::App& noun) {
  auto id = std::make_shared<std::shared_ptr<std::string>>();
  CLI::App& verb = grammar.verb(noun, "history", "the states a job went through, and why",
                                {"mvm job history job-7"}, [id](Session& session) -> Result<int> {
                                  MVM_ASSIGN(const auto detail, find_job(session, **id));
                                  Listing listing("transition", {{"WHEN", "time"},
                                                                 {"ATTEMPT", "attempt", true},
                                                                 {"FROM", "from"},
                                                                 {"TO", "to"},
                                                                 {"REASON", "reason"}});
                                  for (const soap::Transition& step : detail.transitions) {
                                    listing.row({{local_time(step.at_ms), iso_time(step.at_ms)},
                                                 step.attempt,
                                                 step.from,
                                                 {step.to, step.to, colour_of_state(step.to)},
                                                 step.reason});
                                  }
                                  session.print(listing);
                                  return kDone;
                                });
  *id = add_job_id(grammar, verb);
}

// ---- logs

struct LogOptions {
  std::shared_ptr<std::string> id;
  bool follow = false;
  std::string process, retry_for = "60s";
};

Result<int> logs(Session& session, const LogOptions& options) {
  MVM_ASSIGN(const auto patience, parse_time(options.retry_for));
  MVM_ASSIGN(auto api, session.api());
  LogPrinter printer(session, {});
  soap::LogQuery query{*options.id, options.process, 0, std::chrono::milliseconds(0)};
  Pacer pacer(session);
  for (bool first = true;; first = false) {
    const bool follow = options.follow;
    query.wait = follow && !first ? kLongPoll : std::chrono::milliseconds(0);
    pacer.begin();
    const auto ask = [&] { return api.jobs.logs(session.caller(), query); };
    auto page = follow && !first ? patiently(session, patience, ask) : ask();
    if (!page) {
      printer.finish();
      return not_known(session, page.error(), "mvm job list --all");
    }
    query.cursor = page->cursor;
    for (const soap::LogPiece& piece : page->pieces) printer.print(piece);
    if (page->ended || (!follow && page->pieces.empty()) || !session.out()) break;
    if (follow) pacer.end(first || !page->pieces.empty());
  }
  printer.finish();
  return kDone;
}

void add_logs(Grammar& grammar, CLI::App& noun) {
  auto options = std::make_shared<LogOptions>();
  CLI::App& verb = grammar.verb(
      noun, "logs", "what a job's processes and compilers said",
      {"mvm job logs job-7", "mvm job logs -f job-7", "mvm job logs job-7 --process 'cell[0]' -o jsonl"},
      [options](Session& session) { return logs(session, *options); });
  options->id = add_job_id(grammar, verb);
  verb.add_flag("-f,--follow", options->follow, "go on until the job ends, across restarts of the broker");
  verb.add_option("--process", options->process, "only of this process")->type_name("PROCESS");
  verb.add_option("--retry-for", options->retry_for, "how long to look for a broker that went away")
      ->type_name("TIME");
}

// ---- cancel, remove, result

void add_cancel(Grammar& grammar, CLI::App& noun) {
  struct Options {
    Ids ids;
    bool dry_run = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(
      noun, "cancel", "stops jobs and takes their labs down", {"mvm job cancel job-7 job-8"},
      [options](Session& session) -> Result<int> {
        MVM_ASSIGN(auto api, session.api());
        return for_each_id(
            session, *options->ids, "job", options->dry_run ? "would be cancelled" : "cancelled",
            [&](const std::string& id) -> Status {
              if (options->dry_run) {
                MVM_ASSIGN(const auto detail, find_job(session, id));
                if (!is_final(detail.job.state)) return ok();
                return Error(ErrorCode::kConflict, "job " + id + " ended already: found " + detail.job.state);
              }
              const Status status = api.jobs.cancel(session.caller(), id);
              if (!status) return not_known(session, status.error(), "mvm job list");
              return ok();
            });
      });
  options->ids = add_job_ids(grammar, verb);
  verb.add_flag("--dry-run", options->dry_run, "only say what would be done");
}

void add_remove(Grammar& grammar, CLI::App& noun) {
  auto ids = std::make_shared<Ids>();
  CLI::App& verb = grammar.verb(noun, "remove", "forgets ended jobs with their logs and results",
                                {"mvm job remove job-7"}, [ids](Session& session) -> Result<int> {
                                  MVM_ASSIGN(auto api, session.api());
                                  return for_each_id(
                                      session, **ids, "job", "removed", [&](const std::string& id) -> Status {
                                        const Status status = api.jobs.remove(session.caller(), id);
                                        if (status) return ok();
                                        if (status.error().code() == ErrorCode::kConflict) {
                                          session.hint("mvm job cancel " + id);
                                        }
                                        return not_known(session, status.error(), "mvm job list --all");
                                      });
                                });
  *ids = add_job_ids(grammar, verb);
}

struct ResultOptions {
  std::shared_ptr<std::string> id;
  std::string out;
  bool list = false;
};

Result<int> result(Session& session, const ResultOptions& options) {
  MVM_ASSIGN(auto api, session.api());
  auto files = api.jobs.results(session.caller(), *options.id);
  if (!files) return not_known(session, files.error(), "mvm job list --all");
  std::vector<std::filesystem::path> fetched(files->size());
  if (!options.list) {
    const std::filesystem::path folder = out_folder(session, options.out);
    MVM_ASSIGN(fetched, fetch_results(session, *files, folder));
  }
  Listing listing("result", {{"NAME", "name"},
                             {"PROCESS", "process"},
                             {"SIZE", "size", true},
                             {"", "digest"},
                             {options.list ? "" : "FILE", options.list ? "" : "file"}});
  for (std::size_t i = 0; i < files->size(); ++i) {
    const soap::ResultFile& file = (*files)[i];
    listing.row({file.name,
                 file.process,
                 {human_bytes(file.size), file.size},
                 file.digest,
                 fetched[i].lexically_normal().string()});
  }
  session.print(listing);
  if (files->empty()) session.hint("mvm job status " + *options.id);
  return kDone;
}

void add_result(Grammar& grammar, CLI::App& noun) {
  auto options = std::make_shared<ResultOptions>();
  CLI::App& verb = grammar.verb(
      noun, "result", "fetches the files a job left behind",
      {"mvm job result job-7", "mvm job result job-7 --out results", "mvm job result job-7 --list -o json"},
      [options](Session& session) { return result(session, *options); });
  options->id = add_job_id(grammar, verb);
  grammar.completes(verb.add_option("--out", options->out, "folder for the files (here)")->type_name("DIR"),
                    Completes::kFile);
  verb.add_flag("--list", options->list, "only list them");
}

}  // namespace

void add_job_verbs(Grammar& grammar) {
  CLI::App& noun = grammar.noun("job", "jobs: follow, ask why, fetch results");
  add_list(grammar, noun);
  add_status(grammar, noun);
  add_why(grammar, noun);
  add_logs(grammar, noun);
  add_cancel(grammar, noun);
  add_result(grammar, noun);
  add_history(grammar, noun);
  add_remove(grammar, noun);
}

}  // namespace mvm::cli
