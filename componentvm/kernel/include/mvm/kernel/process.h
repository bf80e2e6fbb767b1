#pragma once
// The kernel's process manager, as plug-ins see it [Engelmann & Geist, lightweight kernel, §2.1]: a separate
// process, the launcher, starts and owns all processes, relays their standard streams and outlives the
// kernel.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::kernel {

/// Bounds of one process and all it starts; 0 is no bound beyond the node's own.
struct ProcessLimits {
  std::uint64_t wall_ms = 0;     ///< then all of it is killed
  std::uint64_t cpu_s = 0;       ///< processor seconds, each process
  std::uint64_t memory = 0;      ///< bytes of address space, each process
  std::uint64_t processes = 0;   ///< processes and threads of the job's user (of its own where isolated)
  std::uint64_t file_size = 0;   ///< bytes of the largest file it may write
  std::uint64_t open_files = 0;  ///< descriptors, each process
};

/// What to start.
struct ProcessSpec {
  std::string id;                 ///< names it until forget(); [!-~] without spaces, at most 200 bytes
  std::string owner;              ///< the plug-in's name: who is told of its end
  std::string group;              ///< forget_group() takes all of a group (an attempt)
  std::vector<std::string> argv;  ///< argv[0]: absolute, under a preset program folder or `folder`; relative
                                  ///< with a slash: below `folder`; without: searched in the preset folders
  std::filesystem::path folder;   ///< its working directory, absolute
  std::vector<std::pair<std::string, std::string>> environment;  ///< all of it
  ProcessLimits limits;
  bool standard_input = false;  ///< else /dev/null
  bool merge_output = false;    ///< standard error goes with standard output, in order
  bool isolate = false;         ///< no network, no other processes in sight, fewer system calls: for builds
  bool hold = false;            ///< it waits, all but its program executed, until it is release()d
  bool transient = false;    ///< forgotten by itself once it was finish()ed and all it said was acknowledged
  std::string output_event;  ///< event for its output, with `output_args` plus stream and offset
  nlohmann::json output_args = nlohmann::json::object();
  nlohmann::json memo =
      nlohmann::json::object();  ///< the plug-in's own, given back with ProcessInfo; <= 64 KiB
};

enum class ProcessState { kRunning, kExited };

/// A process that exists or whose end is remembered.
struct ProcessInfo {
  std::string id;
  std::string owner;
  std::string group;
  long pid = 0;
  ProcessState state = ProcessState::kRunning;
  int code = 0;  ///< exit code; 128 + signal where a signal ended it
  int signal = 0;
  std::string reason;  ///< why it was ended: "wall-time", "stopped"; empty: by itself
  std::uint64_t wall_ms = 0;
  std::uint64_t user_ms = 0;
  std::uint64_t system_ms = 0;
  std::uint64_t max_rss = 0;  ///< bytes
  nlohmann::json memo;
};

/// Descriptors and a note that the launcher keeps for a plug-in, over the death of the kernel.
struct Kept {
  std::string name;
  nlohmann::json note;
  std::vector<UniqueFd> descriptors;
};

/// Asks the launcher. Any thread; every call blocks until the launcher answered.
class ProcessManager {
 public:
  virtual ~ProcessManager() = default;

  /// Starts a process; an id that exists already is answered as it is. `descriptors`: (ours, number in it).
  [[nodiscard]] virtual Result<ProcessInfo> start(
      const ProcessSpec& spec, const std::vector<std::pair<int, int>>& descriptors = {}) = 0;
  /// Lets processes that were started to be held go on to their programs, all at once; those that are under
  /// way or over already are left alone. Their wall time counts from here. Answers the first problem, after
  /// all were tried: kNotFound, kFailed (a program could not be executed).
  [[nodiscard]] virtual Status release(const std::vector<std::string>& ids) = 0;
  /// To it and its process group. kNotFound; no error if it has ended.
  [[nodiscard]] virtual Status signal(const std::string& id, int number) = 0;
  /// Kills it and all it started; it ends with `reason`.
  [[nodiscard]] virtual Status kill(const std::string& id, const std::string& reason) = 0;
  /// Adds to its standard input. `offset`: how many bytes were given before (what overlaps is not given
  /// twice). Answers how many it has now: fewer than offered where it does not read; go on from there later.
  [[nodiscard]] virtual Result<std::uint64_t> input(const std::string& id, std::uint64_t offset,
                                                    std::string_view bytes, bool end) = 0;
  [[nodiscard]] virtual Result<ProcessInfo> find(const std::string& id) = 0;
  /// Those of a group; all where it is empty.
  [[nodiscard]] virtual Result<std::vector<ProcessInfo>> list(const std::string& group = {}) = 0;
  /// Kills what runs in the group, forgets its processes, their output and the events about them.
  [[nodiscard]] virtual Status forget_group(const std::string& group) = 0;
  /// Kills and forgets one process.
  [[nodiscard]] virtual Status forget(const std::string& id) = 0;

  /// Who is told when a process of `owner` has ended and all its output was told. Called from the pool; again
  /// after a restart of the kernel, until finish(). To be set in Plugin::start().
  virtual void on_exit(const std::string& owner, std::function<void(const ProcessInfo&)> callback) = 0;
  /// Tells the last event of a process, exactly once.
  [[nodiscard]] virtual Status finish(const std::string& id, const std::string& event,
                                      const nlohmann::json& args) = 0;

  /// Gives descriptors into the launcher's keeping (duplicates), replacing those of that name; at most 64 for
  /// each name. `note` at most 256 KiB.
  [[nodiscard]] virtual Status keep(const std::string& name, const nlohmann::json& note,
                                    const std::vector<int>& descriptors) = 0;
  /// Duplicates of what is kept under names that begin so.
  [[nodiscard]] virtual Result<std::vector<Kept>> kept(const std::string& prefix) = 0;
  [[nodiscard]] virtual Status drop(const std::string& name) = 0;
};

}  // namespace mvm::kernel
