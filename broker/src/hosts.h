#pragma once
// The hosts: whether they answer, what they have, what happens there. Loop thread only.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core.h"
#include "mvm/broker/planner.h"
#include "records.h"

namespace mvm::broker {

class Hosts {
 public:
  Hosts(Core& core, const std::vector<host::HostAgent*>& agents);
  ~Hosts();

  /// Those that joined earlier. After labs were loaded, before start().
  [[nodiscard]] Status load();
  /// Connects to all, again and again.
  void start();

  using Work = std::function<Status(host::HostAgent&)>;  ///< on the executor
  using Done = std::function<void(Status)>;              ///< on the loop
  /// Runs `work` against a host as soon as it answers. Without `patient` it fails with kUnavailable where the
  /// host does not for BrokerConfig::host_patience.
  void with(const std::string& host, Work work, Done done, bool patient = false);

  /// Its drivers may have changed: asks it again.
  void refresh(const std::string& host);
  /// kExists where another host has this name; `key` tells it from a host that joins once more.
  [[nodiscard]] Status may_join(const std::string& name, const std::string& key);
  /// A host joined, or joined again at another address. Puts its record; it is called once that is durable.
  void join(HostRecord record);
  [[nodiscard]] Status drain(const std::string& host, bool drain);
  /// kConflict unless it is drained and no lab is on it, or `force`; kInvalid for one that did not join.
  [[nodiscard]] Status remove(const std::string& host, bool force);

  /// For calls on a caller's own thread. Null: no such host, or it does not answer.
  [[nodiscard]] host::HostAgent* agent(const std::string& host);
  /// What the planner sees.
  [[nodiscard]] std::vector<HostSnapshot> snapshot() const;
  [[nodiscard]] std::vector<soap::HostView> views() const;
  /// Why a host cannot be used now; empty: it can.
  [[nodiscard]] std::string trouble(const std::string& host) const;

 private:
  struct Waiting {
    Work work;
    Done done;
    bool patient = false;
    Clock::Instant until;
  };
  struct Host {
    std::unique_ptr<host::HostAgent> owned;  ///< of one that joined
    host::HostAgent* agent = nullptr;
    std::string name;  ///< empty: it never answered
    HostRecord record;
    host::HostInfo info;
    bool ready = false;
    std::string why = "has not answered yet";
    CursorRecord cursor;
    std::chrono::milliseconds pause{0};
    std::vector<Waiting> waiting;
    std::uint64_t epoch_of_link = 0;  ///< counts connections: answers of an earlier one are stale
  };
  struct Greeting {
    host::HostInfo info;
    host::Inventory inventory;
  };

  [[nodiscard]] Host* find(const std::string& name);
  [[nodiscard]] Result<std::unique_ptr<host::HostAgent>> open(const std::string& url) const;
  Host& add(HostRecord record, std::unique_ptr<host::HostAgent> agent);
  void replace(Host& host, std::unique_ptr<host::HostAgent> agent);
  void bury(Host& host);
  void connect(Host& host);
  void greeted(Host& host, Result<Greeting> greeting);
  void reaped(Host& host, const host::Inventory& inventory, const Status& status);
  void lost(Host& host, const Error& error);
  void poll(Host& host);
  void happened(Host& host, Result<host::HostEvents> answer);
  void release(Host& host);
  void expire(const std::string& name);

  Core& core_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::map<std::string, HostRecord> early_;               ///< of the broker's own that have not answered yet
  std::vector<std::unique_ptr<host::HostAgent>> former_;  ///< replaced; calls under way may still use them
  std::vector<std::pair<std::string, Waiting>> unknown_;  ///< for hosts that never answered yet
};

/// What a host's event means to jobs, labs, builds and execs. Puts its consequences into the journal.
void handle_event(Core& core, const std::string& host, const host::HostEvent& event);

}  // namespace mvm::broker
