#pragma once
// A host that exists in memory only: labs, nodes, kernels that "run" processes and "compile". It outlives the
// brokers that talk to it, and writes down whatever a correct broker would never do.

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/blob_store.h"
#include "mvm/host/host_agent.h"

namespace mvm::fakes {

/// What all hosts of a test have in common.
struct FakeWorld {
  std::vector<std::string> violations;                 ///< two attempts alive, a process started twice, ...
  std::map<std::string, int> compiled;                 ///< build key → how often a node began to compile it
  std::map<std::string, int> started;                  ///< "1.1/cell[0]" → how often it really began
  std::map<std::string, std::set<std::string>> alive;  ///< job → attempts of which something is alive
  std::vector<nlohmann::json> steps;                   ///< of every wire() that succeeded
};

class FakeHostAgent final : public host::HostAgent {
 public:
  FakeHostAgent(std::string name, FakeWorld& world, const BlobStore& blobs);

  static constexpr std::uint16_t kProxyPort = 4000;
  static constexpr std::uint16_t kRegionPort = 4300;

  // ---- the script
  bool auto_exit = true;  ///< processes end at once, with `exit_code`, after a line of output
  int exit_code = 0;
  bool auto_build = true;  ///< builds end at once
  bool build_fails = false;
  bool never_drained = false;                     ///< links that are gone keep their producers
  std::set<std::string> idle;                     ///< processes that never come for their ends
  std::set<std::string> deaf;                     ///< processes that only SIGKILL ends
  bool down = false;                              ///< no call is answered
  std::map<std::string, std::deque<Error>> fail;  ///< call or operation → errors for its next uses
  /// Answers operations "kernel.*" and "dvm.*" of nodes; called from several threads at once.
  std::function<Result<host::CallReply>(const std::string& node, const std::string& op,
                                        const nlohmann::json& args)>
      kernels;
  std::function<void(const std::string& call)> on_call;  ///< before each call and operation
  host::HostInfo info;

  void exit_process(const std::string& proc, int code, int signal = 0);
  void finish_build(const std::string& key, bool ok);
  void lose_node(const std::string& lab, const std::string& node);
  /// The node goes while nobody is told: as if the host's daemon was dead meanwhile.
  void lose_silently(const std::string& lab, const std::string& node);
  /// The host's daemon starts anew: earlier events are sent again under a new epoch.
  void restart();
  /// The lab's proxy process ends; it was reached at this port.
  void emit_child_lost(const std::string& lab, std::uint16_t port = kProxyPort) {
    emit(lab, "", "lab.child", {{"lost", true}, {"port", port}, {"reason", "killed"}});
  }
  /// Whatever a hostile kernel may say.
  void emit_raw(const std::string& lab, const std::string& node, const std::string& event,
                nlohmann::json args) {
    emit(lab, node, event, std::move(args), std::string("\xff\0bytes", 7));
  }
  /// Something that no broker knows.
  void add_stranger(const std::string& lab);

  [[nodiscard]] bool news() const { return down ? !told_down_ : next_ - 1 > served_; }
  [[nodiscard]] std::uint64_t served() const { return served_; }
  /// A new broker comes: what was not acknowledged will be served again.
  void forget_served() { served_ = acked_; }
  /// Everything that is left on the host.
  [[nodiscard]] std::vector<std::string> leftovers() const;
  [[nodiscard]] bool running(const std::string& proc) const;
  [[nodiscard]] std::size_t node_count() const;
  [[nodiscard]] std::vector<host::NodeSpec> nodes() const;
  [[nodiscard]] const nlohmann::json& wiring(const std::string& attempt, const std::string& node) const;

  // ---- HostAgent
  Result<host::HostInfo> describe() override;
  Result<host::LabInfo> ensure_lab(const host::LabSpec& spec) override;
  Status destroy_lab(const std::string& lab) override;
  Result<host::NodeInfo> ensure_node(const host::NodeSpec& spec, std::chrono::milliseconds timeout) override;
  Status destroy_node(const std::string& lab, const std::string& node) override;
  Status suspend_node(const std::string& lab, const std::string& node, bool suspend) override;
  Result<host::CallReply> call(const std::string& lab, const std::string& node, const std::string& op,
                               const nlohmann::json& args, std::string blob,
                               std::chrono::milliseconds timeout) override;
  Status send_blob(const std::string& lab, const std::string& node, const std::string& digest) override;
  Status fetch_blob(const std::string& lab, const std::string& node, const std::string& digest) override;
  Status wire(const std::string& lab, const std::string& attempt, const host::DomainWiring& wiring) override;
  Status unwire(const std::string& lab, const std::string& attempt) override;
  Result<host::HostEvents> events(const std::string& epoch, std::uint64_t seq,
                                  std::chrono::milliseconds timeout) override;
  Result<host::Inventory> inventory() override;
  Result<std::string> console(const std::string& lab, const std::string& node, std::uint64_t offset) override;

 private:
  struct Process {
    std::string attempt;
    bool held = false;
    bool ended = false;
    int code = 0;
  };
  struct Build {
    std::string source;
    bool ended = false;
  };
  struct Node {
    host::NodeSpec spec;
    host::NodeState state = host::NodeState::kUp;
    std::string boot;
    std::map<std::string, std::string> blobs;
    std::map<std::string, Process> processes;
    std::map<std::string, Build> builds;
    std::set<std::string> wired;  ///< attempts
  };
  struct Lab {
    host::LabSpec spec;
    std::map<std::string, Node> nodes;
    std::map<std::pair<std::string, std::string>, nlohmann::json> wirings;  ///< (attempt, guest)
  };

  [[nodiscard]] Status enter(const std::string& call);
  [[nodiscard]] static bool is_wired(const Lab& lab, const std::string& proc);
  [[nodiscard]] Node* find(const std::string& lab, const std::string& node);
  void emit(const std::string& lab, const std::string& node, const std::string& event, nlohmann::json args,
            std::string blob = {});
  Result<host::CallReply> start(Node& node, const nlohmann::json& args);
  Result<host::CallReply> release(Node& node, const nlohmann::json& args);
  void begin(Node& node, const std::string& proc, bool exec);
  Result<host::CallReply> build(Node& node, const nlohmann::json& args);
  Result<host::CallReply> stats(const Lab& lab, const std::string& attempt) const;
  Result<host::CallReply> file(Node& node, const nlohmann::json& args);
  Result<host::CallReply> signal(Node& node, const nlohmann::json& args);
  void end_process(Node& node, const std::string& proc, int code, int signal);
  void end_build(Node& node, const std::string& key, bool ok);
  void drop(Node& node);
  void count_alive();

  std::string name_;
  FakeWorld& world_;
  const BlobStore& blobs_;
  std::map<std::string, Lab> labs_;
  std::string epoch_ = "e1";
  std::deque<host::HostEvent> log_;
  std::uint64_t next_ = 1;
  std::uint64_t served_ = 0;
  std::uint64_t acked_ = 0;
  bool told_down_ = false;
  int boots_ = 0;
};

}  // namespace mvm::fakes
