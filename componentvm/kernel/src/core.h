#pragma once
// The threaded kernel: what plug-ins are given, and the operations that are the kernel's own.

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "commands.h"
#include "launcher_client.h"
#include "mvm/base/thread_pool.h"
#include "mvm/channel/kernel_end.h"
#include "mvm/kernel/config.h"
#include "mvm/kernel/plugin.h"
#include "mvm/kernel/run.h"
#include "plugin_record.h"
#include "plugins.h"
#include "process_relay.h"
#include "runs.h"

namespace mvm::kernel {

/// Built bottom-up by open(), taken down in reverse by its destructor.
class Core {
 public:
  /// `launcher_lost` is called once where the launcher goes: the kernel must end then.
  [[nodiscard]] static Result<std::unique_ptr<Core>> open(const Config& config, const LauncherLink& link,
                                                          std::function<void()> launcher_lost);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

 private:
  /// What one plug-in sees: the kernel, with its own name on what it asks for.
  class View;
  struct Operation {
    std::string owner;
    std::shared_ptr<Handler> handler;
  };

  Core(const Config& config, const LauncherLink& link);
  Status start(std::function<void()> launcher_lost);
  Status load_plugins();
  Status load_again(PluginRecord::Content before);
  Status record_plugins(std::vector<KeptPlugin> plugins);
  Status start_runs();
  Status load_one(const std::string& name, bool core);
  Status spawn_programs();
  Result<LocatedPlugin> locate(const std::string& locator);
  Result<nlohmann::json> ask_plugin(const std::string& plugin, bool core, const std::string& op,
                                    nlohmann::json args);
  [[nodiscard]] std::filesystem::path plugin_cache() const;
  void retire(const std::string& plugin);
  void notify(const std::string& op, nlohmann::json args);
  void take(channel::Request request);
  Result<Answer> call(const std::string& caller, Call& call);
  Result<Answer> run(const std::string& caller, const std::string& owner, const Handler& handler, Call& call);
  Status offer(const std::string& owner, const std::string& op, Handler handler);
  void offer_own();
  Answer node_info(const Call& call);
  Answer list_plugins();
  Answer locator_rules() const;
  Result<Answer> share_plugin_of(const Call& call);
  Result<Answer> adjust_pool(const Call& call);

  const Config& config_;
  LauncherLink link_;
  NodeConfig node_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  BlobStore blobs_;
  LauncherClient launcher_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<ProcessRelay> relay_;
  std::unique_ptr<channel::KernelEnd> channel_;
  Runs runs_;
  PluginRecord record_;
  std::atomic<bool> recording_ = false;  // once all of the last kernel is loaded again
  std::mutex on_demand_mutex_;           // of plug-ins that are loaded when they are first needed
  Plugins plugins_;
  std::unique_ptr<Commands> commands_;
  std::mutex operations_mutex_;
  std::condition_variable operation_ended_;
  std::map<std::string, Operation> operations_;
  std::map<std::string, int> running_;  // operations, by plug-in
  std::mutex toolchains_mutex_;
  nlohmann::json toolchains_;
};

}  // namespace mvm::kernel
