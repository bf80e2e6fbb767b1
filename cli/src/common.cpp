#include "common.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <ostream>
#include <set>

#include "format.h"
#include "mvm/base/file.h"
#include "mvm/topologies/diagnostic.h"

namespace mvm::cli {

std::shared_ptr<Watch> add_watch(Grammar& grammar, CLI::App& verb) {
  auto watch = std::make_shared<Watch>();
  CLI::Option* option = verb.add_option("--watch", watch->every, "show again every TIME (2s) until Ctrl-C")
                            ->type_name("[=TIME]");
  grammar.value_optional(option, "2s");
  return watch;
}

namespace detail {

Result<std::chrono::milliseconds> watch_interval(const Watch& watch) {
  MVM_ASSIGN(const auto interval, parse_time(watch.every));
  return std::max(interval, std::chrono::milliseconds(100));
}

void clear_screen(Session& session) {
  session.out() << "\x1b[H\x1b[2J" << local_time(session.context().clock.wall_ms()) << "  "
                << session.globals().broker << "\n\n";
}

}  // namespace detail

namespace {

constexpr std::size_t kLongestReason = 80;  // `mvm job why` tells all

struct StateWord {
  const char* state;
  const char* code;
  Colour colour;
};

constexpr std::array kStates = {
    StateWord{"SUBMITTED", "PD", Colour::kNone},  StateWord{"PLANNED", "PL", Colour::kNone},
    StateWord{"BUILDING", "BD", Colour::kBusy},   StateWord{"BOOTING", "BT", Colour::kBusy},
    StateWord{"WIRING", "WR", Colour::kBusy},     StateWord{"RUNNING", "R", Colour::kGood},
    StateWord{"COLLECTING", "CG", Colour::kBusy}, StateWord{"DONE", "CD", Colour::kGood},
    StateWord{"FAILED", "F", Colour::kBad},       StateWord{"CANCELLED", "CA", Colour::kFaint}};

const StateWord* find_state(const std::string& state) {
  const auto* found = std::find_if(kStates.begin(), kStates.end(),
                                   [&](const StateWord& word) { return state == word.state; });
  return found == kStates.end() ? nullptr : found;
}

}  // namespace

bool is_final(const std::string& state) {
  return state == "DONE" || state == "FAILED" || state == "CANCELLED";
}

std::string short_state(const std::string& state) {
  const StateWord* word = find_state(state);
  return word == nullptr ? state : word->code;
}

Colour colour_of_state(const std::string& state) {
  const StateWord* word = find_state(state);
  return word == nullptr ? Colour::kNone : word->colour;
}

std::string where_or_reason(const soap::JobView& job) {
  const bool quiet = job.state == "RUNNING" || job.state == "DONE" || job.reason.empty();
  return quiet ? join(job.where, ",") : "(" + job.reason + ")";
}

std::int64_t elapsed_ms(const soap::JobView& job, std::int64_t now_ms) {
  if (job.started_ms <= 0) return 0;
  return std::max<std::int64_t>(0, (job.ended_ms > 0 ? job.ended_ms : now_ms) - job.started_ms);
}

Json job_json(const soap::JobView& job, std::int64_t now_ms) {
  Json json = Json::object();
  json["id"] = job.id;
  json["lab"] = job.lab;
  json["name"] = job.name;
  json["user"] = job.user;
  json["state"] = job.state;
  json["time_ms"] = elapsed_ms(job, now_ms);
  json["nodes"] = job.nodes;
  json["where"] = job.where;
  json["reason"] = job.reason;
  json["submitted"] = iso_time(job.submitted_ms);
  json["started"] = iso_time(job.started_ms);
  json["ended"] = iso_time(job.ended_ms);
  json["attempt"] = job.attempt;
  json["exit_code"] = job.exit_code;
  json["cancel_asked"] = job.cancel_asked;
  json["progress"] = job.progress;
  return json;
}

Listing job_listing(const std::vector<soap::JobView>& jobs, std::int64_t now_ms) {
  Listing listing("job", {{"JOBID", "id"},
                          {"LAB", "lab"},
                          {"NAME", "name"},
                          {"USER", "user"},
                          {"ST", "state"},
                          {"TIME", "time_ms", true},
                          {"NODES", "nodes", true},
                          {"WHERE(REASON)", "where"},
                          {"", "reason"},
                          {"", "submitted"},
                          {"", "started"},
                          {"", "ended"},
                          {"", "attempt"},
                          {"", "exit_code"},
                          {"", "cancel_asked"},
                          {"", "progress"}});
  for (const soap::JobView& job : jobs) {
    const Json json = job_json(job, now_ms);
    std::vector<Cell> cells = {job.id,
                               job.lab,
                               job.name,
                               job.user,
                               {short_state(job.state), job.state, colour_of_state(job.state)},
                               {human_duration(elapsed_ms(job, now_ms)), json["time_ms"]},
                               job.nodes,
                               {cut(one_line(where_or_reason(job)), kLongestReason), job.where}};
    for (const char* key :
         {"reason", "submitted", "started", "ended", "attempt", "exit_code", "cancel_asked", "progress"}) {
      cells.emplace_back(std::string(), json[key]);
    }
    listing.row(std::move(cells));
  }
  return listing;
}

Result<std::string> resolve_lab(Session& session, const std::string& text) {
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto labs, api.labs.labs(session.caller()));
  std::vector<std::string> names;
  std::vector<std::string> same_name;
  for (const soap::LabView& lab : labs) {
    if (lab.id == text) return lab.id;
    if (lab.name == text) same_name.push_back(lab.id);
    names.push_back(lab.id);
    names.push_back(lab.name);
  }
  if (same_name.size() == 1) return same_name[0];
  session.hint("mvm lab list");
  if (same_name.size() > 1) {
    return Error(ErrorCode::kInvalid, "found " + std::to_string(same_name.size()) + " labs named '" + text +
                                          "'; expected one: name it by id: " + join(same_name, ", "));
  }
  const std::string near = topologies::near_miss(text, names);
  return Error(ErrorCode::kNotFound,
               "found no lab '" + text + "'" + (near.empty() ? "" : "; did you mean " + near + "?"));
}

Result<soap::VmView> resolve_vm(Session& session, const std::string& text, const std::string& lab) {
  std::string node = text;
  std::string in_lab = lab;
  if (const std::size_t slash = text.find('/'); slash != std::string::npos) {
    in_lab = text.substr(0, slash);
    node = text.substr(slash + 1);
  }
  if (!in_lab.empty()) {
    MVM_ASSIGN(in_lab, resolve_lab(session, in_lab));
  }
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto vms, api.labs.vms(session.caller(), in_lab));
  std::vector<soap::VmView> found;
  std::vector<std::string> names;
  for (const soap::VmView& vm : vms) {
    if (vm.node == node) found.push_back(vm);
    names.push_back(vm.node);
  }
  if (found.size() == 1) return found[0];
  session.hint("mvm vm list");
  if (found.empty()) {
    const std::string near = topologies::near_miss(node, names);
    return Error(ErrorCode::kNotFound,
                 "found no VM '" + text + "'" + (near.empty() ? "" : "; did you mean " + near + "?"));
  }
  std::vector<std::string> choices;
  for (const soap::VmView& vm : found) choices.push_back(vm.lab + "/" + vm.node);
  return Error(ErrorCode::kInvalid, "found " + std::to_string(found.size()) + " VMs named '" + node +
                                        "'; expected one of " + join(choices, ", "));
}

Result<int> for_each_id(Session& session, const std::vector<std::string>& ids, const std::string& noun,
                        const std::string& done, const std::function<Status(const std::string&)>& act) {
  Listing listing(noun + "-action", {{"", "id"}, {"", "done"}, {"", "error"}});
  std::optional<Error> first;
  std::size_t failed = 0;
  std::set<std::string> seen;
  for (const std::string& id : ids) {
    if (!seen.insert(id).second) continue;
    const Status status = act(id);
    listing.row({id, {"", status.has_value()}, {"", status ? "" : status.error().describe()}});
    if (status) {
      if (session.as_table()) session.out() << noun << ' ' << one_line(id) << ' ' << done << '\n';
      continue;
    }
    ++failed;
    if (!first) first = status.error();
    if (ids.size() > 1) {  // a single one's fault is shown by the caller
      session.err() << "mvm: error: " << noun << ' ' << one_line(id) << ": "
                    << one_line(status.error().describe()) << '\n';
    }
  }
  if (!session.as_table()) session.print(listing);
  if (!first) return kDone;
  if (failed < seen.size()) return kPartly;
  if (ids.size() == 1) return *first;
  return exit_code_of(first->code());
}

Error not_known(Session& session, Error error, const std::string& hint) {
  if (error.code() == ErrorCode::kNotFound) session.hint(hint);
  return error;
}

void Pacer::end(bool got_something) {
  using std::chrono::milliseconds;
  if (!got_something && session_.context().clock.now() - began_ < milliseconds(100)) {
    session_.context().sleep(milliseconds(200));
  }
}

std::filesystem::path out_folder(Session& session, const std::string& asked) {
  return asked.empty() ? session.context().directory : std::filesystem::path(asked);
}

Status write_out(Session& session, const std::string& file, const std::string& text) {
  if (!file.empty()) return write_file_durably(file, text);
  session.out() << text;
  if (!text.empty() && text.back() != '\n') session.out() << '\n';
  return ok();
}

}  // namespace mvm::cli
