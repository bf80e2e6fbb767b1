#pragma once
// What a driver remembers of its VMs between their creation and their last question: for drivers' own use.

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mvm/osvm/hypervisor.h"

namespace mvm::osvm {

/// Known VMs and the one receiver of events. Every method from any thread.
class VmRoster {
 public:
  /// Waits for an event under way to end.
  void set_handler(Hypervisor::EventHandler handler);
  void emit(const VmEvent& event);
  /// Remembers a living VM, so that its events and its console are known.
  void remember(const VmInfo& info);
  /// Forgets a VM that did not come to life.
  void forget(const std::string& id);
  /// What is known of a VM, also for a while after its end.
  [[nodiscard]] std::optional<VmInfo> recall(const std::string& id) const;
  /// Emits kStopped once for a VM that was alive.
  void ended(const std::string& id, const std::string& why);
  /// Emits kStopped for each VM that was alive and is not in `alive`; remembers the others.
  void reconcile(const std::vector<VmInfo>& alive);

 private:
  struct Known {
    VmInfo info;
    bool alive = true;
  };
  mutable std::mutex known_mutex_;
  std::map<std::string, Known> known_;
  std::mutex handler_mutex_;  // held while the handler runs
  Hypervisor::EventHandler handler_;
};

/// Lets one thread at a time work on a VM's id, others meanwhile on other ids.
class IdGate {
 public:
  /// Holds the id from its construction to its end.
  class Pass {
   public:
    Pass(IdGate& gate, std::string id);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    IdGate& gate_;
    const std::string id_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> busy_;
};

}  // namespace mvm::osvm
