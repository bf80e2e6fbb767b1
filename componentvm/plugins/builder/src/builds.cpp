#include "builds.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/build/archive.h"
#include "mvm/build/build_key.h"
#include "mvm/build/recipe.h"

namespace mvm::plugins::builder {
namespace {

namespace fs = std::filesystem;
using kernel::Answer;
using kernel::Call;
using kernel::ProcessInfo;

std::string launcher_id(const std::string& key) { return "build:" + key; }

Result<std::string> key_of(const Call& call) {
  MVM_ASSIGN(std::string key, need_text(call.args, "key", 64));
  if (!is_sha256(key)) return Error(ErrorCode::kInvalid, "a build key is a SHA-256 digest");
  return key;
}

build::BuildFolders folders_of(const fs::path& folder) {
  return {folder / "source", folder / "home", folder / "tmp"};
}

constexpr const char* kLog = "build.log";  // in the build's temporary folder
constexpr std::size_t kLogEnd = 2000;
constexpr std::size_t kMostOutcomes = 64;

/// The same command; what it says goes into a file, for nobody outside this node waits for it.
std::vector<std::string> quiet_argv(const std::string& command) {
  return {"/bin/sh", "-c", std::string("exec >\"$TMPDIR/") + kLog + "\" 2>&1; exec /bin/sh -c \"$1\"", "sh",
          command};
}

/// The end of what it said. The file is the build's own, so it may be anything.
std::string end_of_log(const fs::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  std::string text(kLogEnd, '\0');
  const off_t from = std::max<off_t>(0, info.st_size - static_cast<off_t>(kLogEnd));
  const ssize_t got = ::pread(fd.get(), text.data(), text.size(), from);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' && c != '\n') c = ' ';
  return text;
}

std::uint64_t limit_or(const nlohmann::json& limits, const char* name, std::uint64_t otherwise) {
  const std::uint64_t value = number_or(limits, name);
  return value > 0 ? value : otherwise;
}

/// Why a build ended as it did, where its exit code does not say it.
std::string reason_for(const ProcessInfo& info) {
  if (info.reason == "wall-time") return "the build took longer than its time limit";
  if (!info.reason.empty()) return info.reason;
  switch (info.signal) {
    case SIGXCPU:
      return "the build used more processor time than its limit";
    case SIGXFSZ:
      return "the build wrote a file larger than its limit";
    case 0:
      return {};
    default:
      return "the build was ended by signal " + std::to_string(info.signal);
  }
}

}  // namespace

Status Builds::offer() {
  MVM_TRY(make_folders(folder_, 0711));
  clear_leftovers();
  MVM_TRY(kernel_.handle("build.start", [this](Call& call) { return start(call); }));
  MVM_TRY(kernel_.handle("build.wait", [this](Call& call) { return wait(call); }));
  MVM_TRY(kernel_.handle("build.cancel", [this](Call& call) { return cancel(call); }));
  kernel_.processes().on_exit("builder", [this](const ProcessInfo& info) { ended(info); });
  return ok();
}

/// Folders of builds that are over: a kernel died between telling and removing.
void Builds::clear_leftovers() const {
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (entry->is_directory(error) && !kernel_.processes().find(launcher_id(name)))
      (void)remove_tree(entry->path());
  }
}

Result<kernel::ProcessSpec> Builds::spec_from(const std::string& key, const nlohmann::json& args) const {
  kernel::ProcessSpec spec;
  MVM_ASSIGN(const std::string command, need_text(args, "command", 128 << 10));
  MVM_ASSIGN(const auto pairs, text_map_of(args, "params", 1000));
  const std::map<std::string, std::string> parameters(pairs.begin(), pairs.end());
  const nlohmann::json& limits = object_or_empty(args, "limits");
  const build::BuildLimits usual;
  const build::BuildFolders folders = folders_of(folder_ / key);
  spec.id = spec.group = launcher_id(key);
  spec.owner = "builder";
  const bool here = flag_or(args, "here");
  spec.argv = here ? quiet_argv(command) : build::build_argv(command);
  spec.folder = folders.source;
  spec.environment = build::build_environment(folders, kernel_.config().prefix,
                                              build::parameters_named(command, parameters));
  spec.limits = {.wall_ms = limit_or(limits, "wall_ms", usual.wall_ms),
                 .cpu_s = limit_or(limits, "cpu_s", usual.cpu_s),
                 .memory = limit_or(limits, "memory", usual.memory),
                 .processes = limit_or(limits, "processes", usual.processes),
                 .file_size = limit_or(limits, "file_size", usual.file_size)};
  spec.merge_output = true;
  spec.isolate = true;
  spec.transient = true;
  spec.output_event = "build.output";
  spec.output_args = {{"key", key}};
  spec.memo = {{"key", key}, {"here", here}};
  return spec;
}

Status Builds::prepare(const std::string& key, const std::string& source) const {
  const kernel::NodeConfig& config = kernel_.config();
  const build::BuildFolders folders = folders_of(folder_ / key);
  MVM_TRY(remove_tree(folder_ / key));
  MVM_TRY(make_folders(folder_ / key, 0711));
  std::optional<build::FileOwner> owner;
  if (config.drops_privileges) owner = build::FileOwner{config.user, config.group};
  for (const fs::path& folder : {folders.home, folders.temporary}) {
    if (::mkdir(folder.c_str(), 0700) != 0 ||
        (owner && ::lchown(folder.c_str(), owner->user, owner->group) != 0))
      return Error::from_errno(errno, "make " + folder.string());
  }
  MVM_ASSIGN(const UniqueFd archive, kernel_.blobs().read(source));
  auto content = build::unpack(archive.get(), folders.source, {}, owner);
  if (!content) return std::move(content).error().wrap("unpack the source");
  return ok();
}

Result<Answer> Builds::start(const Call& call) {
  MVM_ASSIGN(const std::string key, key_of(call));
  MVM_ASSIGN(const std::string source, need_text(call.args, "source", 64));
  MVM_ASSIGN(const kernel::ProcessSpec spec, spec_from(key, call.args));
  const std::lock_guard lock(mutex_);
  auto known = kernel_.processes().find(spec.id);
  if (known && known->state == kernel::ProcessState::kRunning) return Answer{};
  {
    const std::lock_guard outcomes(outcomes_mutex_);
    outcomes_.erase(key);
  }
  // Asked again after its end: whoever asks has not heard of it, or wants another try.
  if (known) MVM_TRY(kernel_.processes().forget_group(spec.group));
  Status started = prepare(key, source);
  if (started) {
    auto info = kernel_.processes().start(spec);
    if (!info) started = info.error();
  }
  if (!started) {
    (void)remove_tree(folder_ / key);
    return std::move(started).error().wrap("build " + key.substr(0, 12));
  }
  return Answer{};
}

Result<Answer> Builds::cancel(const Call& call) {
  MVM_ASSIGN(const std::string key, key_of(call));
  const Status killed = kernel_.processes().kill(launcher_id(key), "cancelled");
  if (!killed && killed.error().code() != ErrorCode::kNotFound) return killed.error();
  return Answer{};
}

nlohmann::json Builds::outcome(const ProcessInfo& info, const std::string& key) {
  nlohmann::json args{{"key", key},
                      {"ok", false},
                      {"code", info.code},
                      {"signal", info.signal},
                      {"reason", reason_for(info)},
                      {"wall_ms", info.wall_ms}};
  if (info.code != 0 || info.signal != 0 || !info.reason.empty()) return args;
  auto digest = build::pack_directory(folders_of(folder_ / key).source, kernel_.blobs(), {},
                                      /*refuse_links_out=*/false);
  if (!digest) {
    args["reason"] = "the result cannot be packed: " + digest.error().describe();
    return args;
  }
  const auto size = kernel_.blobs().size(*digest);
  args["ok"] = true;
  args["output"] = {{"digest", *digest}, {"size", size ? *size : 0}};
  return args;
}

/// How a build of this node ended that was started with `here`.
Result<Answer> Builds::wait(const Call& call) {
  MVM_ASSIGN(const std::string key, key_of(call));
  const std::chrono::milliseconds time(std::min<std::uint64_t>(number_or(call.args, "wait_ms"), 25'000));
  std::unique_lock lock(outcomes_mutex_);
  outcome_known_.wait_for(lock, time, [&] { return outcomes_.contains(key); });
  const auto found = outcomes_.find(key);
  if (found != outcomes_.end()) return Answer{{{"done", true}, {"outcome", found->second}}, {}, {}};
  lock.unlock();
  MVM_TRY(kernel_.processes().find(launcher_id(key)));
  return Answer{{{"done", false}}, {}, {}};
}

void Builds::ended_here(const ProcessInfo& info, nlohmann::json outcome, const std::string& key) {
  outcome["log"] = end_of_log(folders_of(folder_ / key).temporary / kLog);
  {
    const std::lock_guard lock(outcomes_mutex_);
    if (outcomes_.size() >= kMostOutcomes) outcomes_.erase(outcomes_.begin());
    outcomes_[key] = std::move(outcome);
    outcome_known_.notify_all();
  }
  (void)remove_tree(folder_ / key);
  (void)kernel_.processes().forget_group(info.group);
}

void Builds::ended(const ProcessInfo& info) {
  const std::string key = text_or(info.memo, "key");
  const nlohmann::json args = outcome(info, key);
  if (flag_or(info.memo, "here")) return ended_here(info, args, key);
  const Status told = kernel_.processes().finish(info.id, "build.done", args);
  if (!told) {
    log::warning("build.end-not-told", {{"key", key}, {"reason", told.error().describe()}});
    return;
  }
  (void)remove_tree(folder_ / key);
}

}  // namespace mvm::plugins::builder
