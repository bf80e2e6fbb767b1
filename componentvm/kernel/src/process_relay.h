#pragma once
// The kernel's process manager: asks the launcher, turns what processes print into events, and tells the
// plug-ins of their ends after all of their output.

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "launcher_client.h"
#include "mvm/channel/kernel_end.h"
#include "mvm/kernel/process.h"

namespace mvm::kernel {

/// Thread-safe. Order of construction and end: relay, channel, start(); stop() before the channel goes.
class ProcessRelay final : public ProcessManager {
 public:
  using Submit = std::function<Status(std::function<void()>)>;
  ProcessRelay(LauncherClient& launcher, std::filesystem::path run, Submit submit);
  ~ProcessRelay() override;

  /// Learns what is running and what was told already, and begins to tell.
  [[nodiscard]] Status start(channel::KernelEnd& channel);
  void stop();

  // For the channel and the launcher.
  void on_notice(const nlohmann::json& notice);
  void on_acknowledged(const std::vector<channel::PendingEvent>& events);
  [[nodiscard]] std::optional<std::string> read(const channel::SpoolPart& part) const;

  // ProcessManager
  [[nodiscard]] Result<ProcessInfo> start(const ProcessSpec& spec,
                                          const std::vector<std::pair<int, int>>& descriptors) override;
  [[nodiscard]] Status release(const std::vector<std::string>& ids) override;
  [[nodiscard]] Status signal(const std::string& id, int number) override;
  [[nodiscard]] Status kill(const std::string& id, const std::string& reason) override;
  [[nodiscard]] Result<std::uint64_t> input(const std::string& id, std::uint64_t offset,
                                            std::string_view bytes, bool end) override;
  [[nodiscard]] Result<ProcessInfo> find(const std::string& id) override;
  [[nodiscard]] Result<std::vector<ProcessInfo>> list(const std::string& group) override;
  [[nodiscard]] Status forget_group(const std::string& group) override;
  [[nodiscard]] Status forget(const std::string& id) override;
  void on_exit(const std::string& owner, std::function<void(const ProcessInfo&)> callback) override;
  [[nodiscard]] Status finish(const std::string& id, const std::string& event,
                              const nlohmann::json& args) override;
  [[nodiscard]] Status keep(const std::string& name, const nlohmann::json& note,
                            const std::vector<int>& descriptors) override;
  [[nodiscard]] Result<std::vector<Kept>> kept(const std::string& prefix) override;
  [[nodiscard]] Status drop(const std::string& name) override;
  /// Takes back what a plug-in that is going away had asked for; waits until its callback does not run.
  void forget_owner(const std::string& owner);

 private:
  struct Stream {
    std::uint64_t size = 0;  ///< in the spool
    std::uint64_t told = 0;  ///< made into events
  };
  struct Process {
    ProcessInfo info;
    std::string output_event;
    nlohmann::json output_args;
    std::map<std::string, Stream> streams{{"out", {}}, {"err", {}}};
    bool transient = false;
    bool ended = false;       ///< info is final
    bool dispatched = false;  ///< its plug-in was told
  };
  struct Piece {
    channel::NewEvent event;
    std::string id, stream;
    std::uint64_t from = 0, to = 0;
  };

  void tell_all();
  bool tell_some(std::unique_lock<std::mutex>& lock);
  std::optional<Piece> next_piece();
  bool dispatch_ends(std::unique_lock<std::mutex>& lock);
  void learn(const nlohmann::json& info);
  Status forget_where(const nlohmann::json& what, const std::function<bool(const Process&)>& matches);
  Status recover(const std::vector<channel::PendingEvent>& recovered);

  LauncherClient& launcher_;
  std::filesystem::path run_;
  Submit submit_;
  channel::KernelEnd* channel_ = nullptr;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  bool blocked_ = false;  // the journal took nothing: pause
  std::map<std::string, Process> processes_;
  std::map<std::string, std::function<void(const ProcessInfo&)>> owners_;
  std::map<std::string, int> calls_;  // callbacks running, by owner
  std::string last_served_;           // fairness between processes
};

}  // namespace mvm::kernel
