#pragma once
// A real node on this machine: mvm-kernel as a plain process, or as PID 1 of its own PID name space, and the
// host's end of its channel.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "mvm/base/blob_store.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/build/archive.h"
#include "mvm/channel/blob_transfer.h"
#include "mvm/channel/host_end.h"

namespace mvm::kernel {

using namespace std::chrono_literals;

/// What the host saw of one process or build.
struct Seen {
  std::map<std::string, std::string> output;  ///< by stream, "out" and "err"
  bool whole = true;                          ///< no gap, no overlap
  std::optional<nlohmann::json> end;          ///< args of proc.exit or build.done
  int ends = 0;
};

struct NodeOptions {
  bool first_process = false;  ///< PID 1 of a PID name space
  std::vector<std::string> arguments;
};

class Node {
 public:
  explicit Node(NodeOptions options = {}) : options_(std::move(options)) {
    folder = *make_temporary_folder("/tmp", "mvm-node-");
    ::chmod(folder.c_str(), 0711);
    store.emplace(*BlobStore::open(folder / "store"));
    start_host();
    start_kernel();
  }
  ~Node() {
    if (launcher) stop_kernel();
    host.reset();
    (void)remove_tree(folder);
  }

  void start_kernel() {
    SpawnOptions spawn;
    if (options_.first_process) spawn.argv = {"unshare", "--fork", "--pid", "--mount-proc", "--kill-child"};
    for (const std::string& text :
         {std::string(MVM_BINARY_DIR "/bin/mvm-kernel"), std::string("--node"), std::string("lab/a"),
          std::string("--work"), (folder / "work").string(), std::string("--run"), (folder / "run").string(),
          std::string("--channel"), "unix:" + (folder / "s").string()})
      spawn.argv.push_back(text);
    spawn.argv.insert(spawn.argv.end(), options_.arguments.begin(), options_.arguments.end());
    log_.reset(::open((folder / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    spawn.standard_output = log_.get();
    spawn.standard_error = log_.get();
    auto child = Subprocess::spawn(spawn);
    ASSERT_TRUE(child) << child.error().describe();
    launcher.emplace(std::move(*child));
  }
  ExitStatus stop_kernel() {
    // `unshare` does not pass signals on; its child may be the first process of a name space.
    if (const pid_t pid = find_process("--work", "--control"); pid > 0) ::kill(pid, SIGTERM);
    const ExitStatus status = launcher->wait_for(10s).value_or(ExitStatus{255, SIGKILL});
    launcher.reset();
    return status;
  }
  void start_host(channel::Position position = {}) {
    channel::HostEnd::Options options{.way = channel::HostEnd::Way::kListen,
                                      .path = folder / "s",
                                      .node = "lab/a",
                                      .position = std::move(position)};
    options.redial = 5ms;
    channel::HostEnd::Callbacks callbacks;
    callbacks.event = [this](const channel::Event& event) { return take(event); };
    auto end = channel::HostEnd::start(std::move(options), std::move(callbacks));
    ASSERT_TRUE(end) << end.error().describe();
    host = std::move(*end);
  }

  Result<channel::Reply> call(const std::string& op, const nlohmann::json& args = nlohmann::json::object(),
                              std::string blob = {}) {
    return host->call(op, args, 60s, std::move(blob));
  }
  nlohmann::json must(const std::string& op, const nlohmann::json& args = nlohmann::json::object(),
                      std::string blob = {}) {
    auto reply = call(op, args, std::move(blob));
    EXPECT_TRUE(reply) << op << ": " << reply.error().describe() << "\n" << log();
    return reply ? reply->result : nlohmann::json();
  }

  /// Packs files (name, text) and brings them into the node; the archive's digest.
  std::string send_tree(const std::map<std::string, std::string>& files) {
    const std::filesystem::path tree = folder / ("tree" + std::to_string(++trees_));
    for (const auto& [name, text] : files) {
      EXPECT_TRUE(make_folders((tree / name).parent_path()));
      EXPECT_TRUE(write_file_durably(tree / name, text,
                                     text.starts_with("#!") || text.starts_with("\x7f"
                                                                                "ELF")
                                         ? 0755
                                         : 0644));
    }
    const std::string digest = *build::pack_directory(tree, *store);
    const Status sent = channel::send_blob(*host, *store, digest, 30s);
    EXPECT_TRUE(sent) << sent.error().describe();
    return digest;
  }
  std::string send_bytes(const std::string& bytes) {
    const std::string digest = *store->put(bytes);
    const Status sent = channel::send_blob(*host, *store, digest, 30s);
    EXPECT_TRUE(sent) << sent.error().describe();
    return digest;
  }

  /// Starts `sh -c script` as a process of attempt "j.1".
  nlohmann::json start_script(const std::string& name, const std::string& script,
                              nlohmann::json more = nlohmann::json::object()) {
    nlohmann::json args{{"proc", "j.1/" + name},
                        {"attempt", "j.1"},
                        {"job", "j"},
                        {"role", name},
                        {"index", 0},
                        {"count", 1},
                        {"argv", {"/bin/sh", "-c", script}},
                        {"environment", nlohmann::json::object()},
                        {"tree", ""},
                        {"kind", "job"}};
    args.update(more);
    return must("proc.start", args);
  }
  /// Waits for the end of a process ("j.1/x") or build (its key).
  Seen wait_end(const std::string& name) {
    std::unique_lock lock(mutex);
    const bool over = changed.wait_for(lock, 60s, [&] { return seen[name].end.has_value(); });
    EXPECT_TRUE(over) << name << " did not end\n" << log();
    return seen[name];
  }
  bool wait(const std::function<bool()>& predicate) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 60s, predicate);
  }
  bool wait_output(const std::string& name, const std::string& text) {
    return wait([&] { return seen[name].output["out"].find(text) != std::string::npos; });
  }
  /// How often an event was told; answers to calls come later than what was told before them.
  int events_named(const std::string& name) {
    const std::lock_guard lock(mutex);
    return static_cast<int>(std::count(events.begin(), events.end(), name));
  }
  /// The process id of the threaded kernel, as we see it.
  pid_t kernel_pid() { return find_process("--control", "unshare"); }
  /// Kills the threaded kernel; returns when it was started again for the n-th time and answers.
  void kill_kernel(int restarts) {
    ::kill(kernel_pid(), SIGKILL);
    EXPECT_TRUE(eventually([&] {
      const auto info = call("node.info");
      return info && info->result.at("restarts") >= restarts;
    })) << log();
    EXPECT_EQ(must("node.info").at("restarts"), restarts);
  }
  static bool eventually(const std::function<bool()>& so) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (!so())
      if (std::chrono::steady_clock::now() > until) return false;
    return true;
  }
  /// One of ours whose command line holds the first text, and not the second.
  pid_t find_process(const std::string& with, const std::string& without) {
    auto children = run_captured({.argv = {"ps", "-eo", "pid=,args="}}, 10s);
    std::istringstream lines(children->output);
    for (std::string line; std::getline(lines, line);)
      if (line.find(folder.string()) != std::string::npos && line.find(with) != std::string::npos &&
          line.find(without) == std::string::npos && line.find("unshare") == std::string::npos)
        return static_cast<pid_t>(std::stol(line));
    return -1;
  }
  std::string log() const {
    auto text = read_file(folder / "log", 1 << 20);
    return text ? *text : "no log";
  }

  std::filesystem::path folder;
  std::optional<BlobStore> store;
  std::unique_ptr<channel::HostEnd> host;
  std::optional<Subprocess> launcher;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, Seen> seen;
  std::vector<std::string> events;

 private:
  Status take(const channel::Event& event) {
    const std::lock_guard lock(mutex);
    events.push_back(event.name);
    const std::string name = event.args.value("proc", event.args.value("key", ""));
    Seen& one = seen[name];
    if (event.name.ends_with(".output")) {
      std::string& text = one.output[event.args.at("stream")];
      one.whole = one.whole && event.args.at("offset") == text.size() && !one.end;
      text += event.blob;
    } else if (event.name == "proc.exit" || event.name == "build.done") {
      one.end = event.args;
      ++one.ends;
    }
    changed.notify_all();
    return ok();
  }

  NodeOptions options_;
  UniqueFd log_;
  int trees_ = 0;
};

}  // namespace mvm::kernel
