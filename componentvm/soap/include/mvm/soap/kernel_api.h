#pragma once
// The kernels of nodes, for those outside: what they have loaded, and the commands of Harness 000, §2.3.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// A plug-in of one kernel (docs/formats/plugins.md).
struct PluginView {
  std::string name, version, file;
  std::vector<std::string> owners;  ///< who loaded it, one for each loading that was not undone
  std::vector<std::string> offers, needs, operations, functions;
  std::string sharing;  ///< "owners", "kernel", "everyone": who may call it
  std::string state;    ///< "starting", "running", "stopping"
  bool core = false;    ///< goes with the kernel
};

/// A thread that runs plug-in code, or did.
struct RunView {
  std::string run, plugin, function;
  std::vector<std::string> arguments;
  std::string state;   ///< "prepared", "running", "stopping", "ended"
  std::string reason;  ///< why it failed; empty: it did not
  std::int64_t began_ms = 0, ended_ms = 0;
};

/// The thread pool of a kernel.
struct PoolView {
  std::uint64_t minimum = 0, maximum = 0, queue = 0, idle_ms = 0, threads = 0, queued = 0;
};

/// One kernel.
struct KernelView {
  std::string lab, node, host;
  std::string trouble;  ///< why it could not be asked; empty: it answered
  std::vector<PluginView> plugins;
  std::vector<RunView> runs;
  PoolView pool;
};

/// Which kernels: those of these nodes, or of all nodes of the lab.
struct KernelTargets {
  std::string lab;  ///< empty, where only looked at: all that the caller may see
  std::vector<std::string> nodes;
};

/// load, unload, run, stop, on several kernels.
struct KernelCommand {
  enum class Verb : std::uint8_t { kLoad, kUnload, kRun, kStop };
  Verb verb = Verb::kLoad;
  KernelTargets targets;
  bool all_or_none = true;  ///< else on those that are able
  std::vector<std::string>
      plugins;           ///< kLoad: wishes, a whole stack; kUnload, kRun: one; kStop: one, or `run`
  std::string function;  ///< kRun: "main" where it is empty
  std::vector<std::string> arguments;
  std::string run;                            ///< kStop: this one; kRun: its name, drawn where it is empty
  std::string sharing;                        ///< kLoad: "everyone" where it is empty
  std::chrono::milliseconds timeout{20'000};  ///< for the answer of each kernel; at most 5 minutes
};

/// What one kernel answered.
struct KernelAnswer {
  std::string node;
  bool able = false;   ///< and willing
  bool done = false;   ///< has carried it out
  std::string reason;  ///< why not
  std::string run;     ///< kRun: the thread's name
};

/// What became of a command. [000, §2.3: the answers list the able and the unable kernels]
struct KernelOutcome {
  bool committed = false;  ///< best effort: at least one has carried it out
  std::vector<KernelAnswer> answers;
};

/// New bounds of pools; -1: as it is.
struct PoolChange {
  std::int64_t minimum = -1, maximum = -1, queue = -1, idle_ms = -1;
};

class KernelApi {
 public:
  virtual ~KernelApi() = default;
  [[nodiscard]] virtual Result<std::vector<KernelView>> kernels(const Caller&, const KernelTargets&) = 0;
  /// All-or-none: every kernel prepares, then all commit, or all take it back. The decision is the broker's
  /// and lives as long as it: a kernel that does not hear it within a minute takes back what it prepared, and
  /// is told as able and not done. An error: nothing was asked of any kernel.
  [[nodiscard]] virtual Result<KernelOutcome> command(const Caller&, const KernelCommand&) = 0;
  /// Changes the thread pools, kernel by kernel; as kernels(), with the pools alone.
  [[nodiscard]] virtual Result<std::vector<KernelView>> adjust_pools(const Caller&, const KernelTargets&,
                                                                     const PoolChange&) = 0;
};

}  // namespace mvm::soap
