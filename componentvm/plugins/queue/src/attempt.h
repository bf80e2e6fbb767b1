#pragma once
// The queues and wiring tables of one attempt on this node.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "attach_loop.h"
#include "mvm/kernel/process.h"
#include "mvm/queuevm/queue.h"
#include "mvm/queuevm/wiring.h"
#include "node_proxy.h"
#include "outside.h"
#include "steps.h"

namespace mvm::plugins::queue {

/// Thread-safe. What a restarted kernel needs is kept with the launcher under "queue/ATTEMPT/...".
class Attempt {
 public:
  /// `failed` hears of links that a codec ended, on any thread; it must not wait.
  Attempt(std::string name, kernel::ProcessManager& keeper, AttachLoop& loop,
          std::shared_ptr<NodeProxy> proxy, NodeProxy::Failed failed)
      : name_(std::move(name)),
        keeper_(keeper),
        loop_(loop),
        proxy_(std::move(proxy)),
        failed_(std::move(failed)) {}
  ~Attempt();
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  /// Queues that others made: for one process, a descriptor for each of its ends, or, where `process` is
  /// empty, our own way to them. `first`: how many came before in the same hand-over; 0 begins it anew.
  [[nodiscard]] Status give(const std::string& process, std::uint64_t first,
                            const std::vector<std::string>& ids, std::vector<UniqueFd> descriptors);
  /// Makes the wiring what the steps say, unless this generation, or a later one, was carried out: queues,
  /// carried links and processes that they do not name any more go. Where they say `hold`, the out ports of
  /// processes stay as they are until the next ones.
  [[nodiscard]] Status apply(const nlohmann::json& wanted);
  /// The socket that a process attaches by; kNotFound where no wiring names it.
  [[nodiscard]] Result<UniqueFd> attach(const std::string& process);
  /// Closes a process's ends: it ended, well or not. kNotFound where no wiring names it.
  [[nodiscard]] Status ended(const std::string& process, bool well);
  [[nodiscard]] nlohmann::json stats() const;
  /// The processes that the wiring names, and whether each has come for all of its ends.
  [[nodiscard]] nlohmann::json joined() const;
  /// wire.peek: what waits in a queue, untouched.
  [[nodiscard]] Result<kernel::Answer> peek(const nlohmann::json& args) const;
  /// wire.drain: takes away what waits in a queue.
  [[nodiscard]] Result<kernel::Answer> drain(const nlohmann::json& args);
  /// The gateway at an open port's queue, attached when it is first asked for. kInvalid where clients have no
  /// such end of that queue.
  [[nodiscard]] Result<std::shared_ptr<Intake>> intake(const std::string& queue);
  [[nodiscard]] Result<std::shared_ptr<Outlet>> outlet(const std::string& queue);
  /// Closes all ends that are open as dead, and forgets what is kept.
  void close();
  /// Takes up what a former kernel kept.
  [[nodiscard]] Status recover(std::vector<kernel::Kept> kept);

 private:
  struct Process {
    ProcessStep step;
    std::optional<queuevm::WiringTable> table;
    bool ended = false;
  };
  [[nodiscard]] nlohmann::json with_held_ports(nlohmann::json args) const;
  [[nodiscard]] std::string kept_name(const std::string& rest) const { return "queue/" + name_ + "/" + rest; }
  Status make_queues(const std::vector<QueueStep>& queues);
  [[nodiscard]] Status check_queues(const std::vector<ProcessStep>& steps) const;
  Status wire_process(const ProcessStep& step);
  Status give_table(Process& process, const ProcessStep& step);
  Status carry(const Steps& steps);
  Result<UniqueFd> outside_descriptor(const std::string& queue, queuevm::Side side, std::uint32_t& slot);
  void drop_queues(const Steps& steps);
  void drop_processes(const Steps& steps);
  Status serve(const std::string& process, UniqueFd socket);
  /// Called with the mutex held. A descriptor of a queue for one end alone: that which its maker gave for it,
  /// or a new one.
  Result<UniqueFd> fresh_descriptor(const std::string& whose, const std::string& id);
  Result<UniqueFd> open_queue(const std::string& process, std::uint32_t descriptor);
  void attached(const std::string& process);
  void drop_kept(const std::string& prefix, const std::string& process);
  void close_ends(const Process& process, queuevm::EndState how);

  const std::string name_;
  kernel::ProcessManager& keeper_;
  AttachLoop& loop_;
  const std::shared_ptr<NodeProxy> proxy_;
  const NodeProxy::Failed failed_;
  mutable std::mutex mutex_;
  std::uint64_t generation_ = 0;
  nlohmann::json applied_;  ///< the steps of this generation
  std::map<std::string, queuevm::Queue> queues_;
  std::map<std::string, Process> processes_;
  std::map<std::string, std::multimap<std::string, UniqueFd>>
      given_;                                    // by process, by queue; until handed on
  std::map<std::string, UniqueFd> tables_;       // kept by the launcher, of processes whose steps come again
  std::map<std::string, queuevm::End> outside_;  // by queue
  std::map<std::string, std::shared_ptr<Intake>> intakes_;
  std::map<std::string, std::shared_ptr<Outlet>> outlets_;
};

}  // namespace mvm::plugins::queue
