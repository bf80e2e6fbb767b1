#pragma once
// A lease for each owner that puts through this node's kernel and names none: it lives as long as the kernel.

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "mvm/registry/registry.h"

namespace mvm::plugins::registry {

class Sessions {
 public:
  explicit Sessions(mvm::registry::Registry& registry);
  ~Sessions() { end(); }
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  /// Ends the leases: what hangs on them goes. Before the registry is stopped; repeatable.
  void end();
  /// The owner's lease. kExhausted above 4,096 owners.
  [[nodiscard]] Result<std::uint64_t> lease_of(const std::string& owner);
  /// It has ended, though it was kept alive: the next time there is a new one.
  void forget(const std::string& owner, std::uint64_t lease);

 private:
  void keep_alive();

  mvm::registry::Registry& registry_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::uint64_t> leases_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mvm::plugins::registry
