#include "processes.h"

#include <signal.h>

#include <algorithm>

#include "mvm/base/json.h"

namespace mvm::plugins::job {
namespace {

using kernel::Answer;
using kernel::Call;
using kernel::ProcessInfo;

constexpr int kAttachDescriptor = 3;  // the number that MVM_FD names
constexpr std::size_t kMaxStaged = 10'000;
constexpr std::size_t kMaxReleased = 4096;

/// The launcher's name for a process of the host.
std::string launcher_id(const std::string& process) { return "p:" + process; }

/// Where it belongs: its attempt; a process of none (vm exec) is a group of its own.
std::string group_of(const nlohmann::json& args, const std::string& process) {
  const std::string attempt = text_or(args, "attempt");
  return attempt.empty() ? process : attempt;
}

kernel::ProcessLimits limits_from(const nlohmann::json& object) {
  return {.wall_ms = number_or(object, "wall_ms"),
          .cpu_s = number_or(object, "cpu_s"),
          .memory = number_or(object, "memory"),
          .processes = number_or(object, "processes"),
          .file_size = number_or(object, "file_size"),
          .open_files = number_or(object, "open_files")};
}

Result<std::vector<StagedFile>> staged_from(const nlohmann::json& args) {
  std::vector<StagedFile> files;
  const nlohmann::json& list = array_or_empty(args, "staged");
  if (list.size() > kMaxStaged) return Error(ErrorCode::kInvalid, "too many staged files");
  for (const nlohmann::json& item : list) {
    MVM_ASSIGN(std::string digest, need_text(item, "digest", 64));
    MVM_ASSIGN(std::string name, need_text(item, "name", 1024));
    files.push_back({std::move(digest), std::move(name)});
  }
  return files;
}

/// Holds an attempt for one call at a time: starting and cleaning must not overlap.
class Busy {
 public:
  Busy(std::mutex& mutex, std::condition_variable& free, std::set<std::string>& busy, std::string name)
      : mutex_(mutex), free_(free), busy_(busy), name_(std::move(name)) {
    std::unique_lock lock(mutex_);
    free_.wait(lock, [&] { return !busy_.contains(name_); });
    busy_.insert(name_);
  }
  ~Busy() {
    const std::lock_guard lock(mutex_);
    busy_.erase(name_);
    free_.notify_all();
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  std::mutex& mutex_;
  std::condition_variable& free_;
  std::set<std::string>& busy_;
  std::string name_;
};

}  // namespace

Status Processes::offer() {
  MVM_TRY(folders_.prepare());
  MVM_TRY(kernel_.handle("proc.start", [this](Call& call) { return start(call); }));
  MVM_TRY(kernel_.handle("proc.release", [this](Call& call) { return release(call); }));
  MVM_TRY(kernel_.handle("proc.input", [this](Call& call) { return input(call); }));
  MVM_TRY(kernel_.handle("proc.signal", [this](Call& call) { return signal(call); }));
  MVM_TRY(kernel_.handle("proc.list", [this](Call& call) { return list(call); }));
  MVM_TRY(kernel_.handle("file.get", [this](Call& call) { return get_file(call); }));
  MVM_TRY(kernel_.handle("attempt.clean", [this](Call& call) { return clean(call); }));
  kernel_.processes().on_exit("job", [this](const ProcessInfo& info) { ended(info); });
  return ok();
}

Result<kernel::ProcessSpec> Processes::spec_from(const nlohmann::json& args) const {
  kernel::ProcessSpec spec;
  MVM_ASSIGN(const std::string process, need_text(args, "proc", 190));
  const kernel::NodeConfig& config = kernel_.config();
  spec.id = launcher_id(process);
  spec.owner = "job";
  spec.group = group_of(args, process);
  MVM_ASSIGN(spec.argv, texts_of(args, "argv", 4096, 131072));
  if (spec.argv.empty()) return Error(ErrorCode::kInvalid, "process " + process + " has nothing to run");
  spec.folder = folders_.process(spec.group, process);
  spec.limits = limits_from(object_or_empty(args, "limits"));
  spec.standard_input = flag_or(args, "stdin", /*otherwise=*/text_or(args, "kind") == "exec");
  spec.hold = flag_or(args, "hold");
  spec.output_event = "proc.output";
  spec.output_args = {{"proc", process}};
  spec.memo = {{"proc", process}, {"attempt", text_or(args, "attempt")}};
  spec.transient = text_or(args, "kind") == "exec" && text_or(args, "attempt").empty();
  spec.environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin:" + (config.prefix / "bin").string()},
                      {"HOME", spec.folder.string()},
                      {"PWD", spec.folder.string()},
                      {"USER", "mvm"},
                      {"LOGNAME", "mvm"},
                      {"LANG", "C.UTF-8"},
                      {"LD_LIBRARY_PATH", (config.prefix / "lib").string()},
                      {"MVM_LAB", config.lab},
                      {"MVM_NODE", config.node}};
  MVM_ASSIGN(const auto wanted, text_map_of(args, "environment", 1000));
  for (const auto& variable : wanted) {
    if (variable.first == "MVM_FD") continue;  // ours to say
    std::erase_if(spec.environment, [&](const auto& pair) { return pair.first == variable.first; });
    spec.environment.emplace_back(variable);
  }
  return spec;
}

Result<Answer> Processes::start(const Call& call) {
  MVM_ASSIGN(kernel::ProcessSpec spec, spec_from(call.args));
  const std::string process = text_or(spec.memo, "proc");
  MVM_ASSIGN(const std::vector<StagedFile> staged, staged_from(call.args));
  const std::string tree = text_or(call.args, "tree");
  // One at a time for each process, so that a repeated call does not find a folder half made.
  const Busy busy(mutex_, free_, busy_, spec.id);
  if (auto known = kernel_.processes().find(spec.id)) return Answer{{{"pid", known->pid}}, {}, {}};
  MVM_TRY(folders_.make(spec.group, process, tree, staged));
  std::vector<std::pair<int, int>> descriptors;
  auto attached = kernel_.call(
      {.op = "wire.attach", .args = {{"attempt", text_or(call.args, "attempt")}, {"proc", process}}});
  if (attached && attached->descriptors.size() == 1) {
    descriptors.emplace_back(attached->descriptors[0].get(), kAttachDescriptor);
    spec.environment.emplace_back("MVM_FD", std::to_string(kAttachDescriptor));
  } else if (!attached &&
             (flag_or(call.args, "wired") || (attached.error().code() != ErrorCode::kNotFound &&
                                              attached.error().code() != ErrorCode::kUnsupported))) {
    return Error(
        attached.error().code() == ErrorCode::kNotFound ? ErrorCode::kConflict : attached.error().code(),
        "process " + process + " is to be wired: " + attached.error().describe());
  }
  MVM_ASSIGN(const ProcessInfo info, kernel_.processes().start(spec, descriptors));
  return Answer{{{"pid", info.pid}}, {}, {}};
}

/// The processes of a job begin together, after each was seen to be startable.
Result<Answer> Processes::release(const Call& call) {
  MVM_ASSIGN(std::vector<std::string> ids, texts_of(call.args, "procs", kMaxReleased, 190));
  for (std::string& id : ids) id = launcher_id(id);
  MVM_TRY(kernel_.processes().release(ids));
  return Answer{};
}

Result<Answer> Processes::input(const Call& call) {
  MVM_ASSIGN(const std::string process, need_text(call.args, "proc", 190));
  MVM_ASSIGN(const std::uint64_t taken,
             kernel_.processes().input(launcher_id(process), number_or(call.args, "offset"), call.blob,
                                       flag_or(call.args, "eof")));
  return Answer{{{"offset", taken}}, {}, {}};
}

Result<Answer> Processes::signal(const Call& call) {
  MVM_ASSIGN(const std::string process, need_text(call.args, "proc", 190));
  MVM_ASSIGN(const std::uint64_t number, need_number(call.args, "signal", 64));
  // One that is being started is signalled after that.
  const Busy busy(mutex_, free_, busy_, launcher_id(process));
  if (number == SIGKILL)
    MVM_TRY(kernel_.processes().kill(launcher_id(process), "killed"));
  else
    MVM_TRY(kernel_.processes().signal(launcher_id(process), static_cast<int>(number)));
  return Answer{};
}

Result<Answer> Processes::list(const Call& call) {
  MVM_ASSIGN(const std::vector<ProcessInfo> all, kernel_.processes().list(text_or(call.args, "attempt")));
  nlohmann::json processes = nlohmann::json::array();
  for (const ProcessInfo& info : all) {
    if (info.owner != "job") continue;
    processes.push_back({{"proc", text_or(info.memo, "proc")},
                         {"pid", info.pid},
                         {"state", info.state == kernel::ProcessState::kRunning ? "running" : "exited"},
                         {"code", info.code},
                         {"signal", info.signal},
                         {"reason", info.reason}});
  }
  return Answer{{{"processes", std::move(processes)}}, {}, {}};
}

Result<Answer> Processes::get_file(const Call& call) {
  MVM_ASSIGN(const std::string process, need_text(call.args, "proc", 190));
  MVM_ASSIGN(const std::string name, need_text(call.args, "name", 1024));
  MVM_ASSIGN(const ProcessInfo info, kernel_.processes().find(launcher_id(process)));
  MVM_ASSIGN(const auto stored, folders_.store(folders_.process(info.group, process), name));
  return Answer{{{"digest", stored.first}, {"size", stored.second}}, {}, {}};
}

Result<Answer> Processes::clean(const Call& call) {
  MVM_ASSIGN(const std::string attempt, need_text(call.args, "attempt", 190));
  MVM_TRY(kernel_.processes().forget_group(attempt));
  auto unwired = kernel_.call({.op = "wire.clean", .args = {{"attempt", attempt}}});
  if (!unwired && unwired.error().code() != ErrorCode::kUnsupported) return unwired.error();
  MVM_TRY(folders_.remove(attempt));
  return Answer{};
}

void Processes::ended(const ProcessInfo& info) {
  const std::string process = text_or(info.memo, "proc");
  const bool well = info.code == 0 && info.signal == 0;
  auto closed =
      kernel_.call({.op = "wire.ended",
                    .args = {{"attempt", text_or(info.memo, "attempt")}, {"proc", process}, {"ok", well}}});
  if (!closed && closed.error().code() != ErrorCode::kUnsupported &&
      closed.error().code() != ErrorCode::kNotFound)
    log::warning("process.ends-not-closed", {{"process", process}, {"reason", closed.error().describe()}});
  if (text_or(info.memo, "attempt").empty()) (void)folders_.remove(info.group);
  const Status told = kernel_.processes().finish(
      info.id, "proc.exit",
      {{"proc", process},
       {"code", info.code},
       {"signal", info.signal},
       {"reason", info.reason},
       {"usage", {{"user_ms", info.user_ms}, {"system_ms", info.system_ms}, {"max_rss", info.max_rss}}},
       {"wall_ms", info.wall_ms}});
  if (!told)
    log::warning("process.end-not-told", {{"process", process}, {"reason", told.error().describe()}});
}

}  // namespace mvm::plugins::job
