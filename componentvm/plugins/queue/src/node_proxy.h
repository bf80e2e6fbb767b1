#pragma once
// This node's proxy: one for all attempts, because the lab's other proxies know a node by its name alone and
// keep one connection to it.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/proxy.h"
#include "mvm/queuevm/region.h"
#include "steps.h"

namespace mvm::plugins::queue {

/// Thread-safe.
class NodeProxy {
 public:
  using Failed = std::function<void(const queuevm::LinkFailure&)>;
  /// A queue's own open description, by the queue's id.
  using Descriptors = std::function<Result<UniqueFd>(const std::string&)>;

  /// Carries what an attempt's steps say, and of its links no others. `failed` hears of those that a codec
  /// ended, on any thread; it must not wait. kConflict where the node was told another name or secret.
  [[nodiscard]] Status carry(const std::string& attempt, const Steps& steps, const Descriptors& descriptors,
                             const Failed& failed);
  /// Carries nothing for that attempt any more; with the last one the proxy goes.
  void leave(const std::string& attempt);

 private:
  using Key = std::tuple<std::uint64_t, queuevm::LinkHalf::Flow, std::string, queuevm::Carrier>;
  /// Who hears of a link's failure; asked on the proxy's thread, so never locked while the proxy is called.
  struct Listeners {
    std::mutex mutex;
    std::map<std::uint64_t, std::pair<std::string, Failed>> of;  // by link: its attempt
  };
  Status start(const Steps& steps);
  Status join_region(const Steps& steps);
  Status add(const CarriedStep& carried, const Descriptors& descriptors);
  Status keep_only(const std::string& attempt, const std::set<Key>& wanted);

  std::mutex mutex_;
  std::string domain_, secret_;
  std::optional<queuevm::RegionStreams> region_;
  bool listens_ = false;                        // for other guests' proxies
  std::map<std::string, std::set<Key>> links_;  // by attempt
  const std::shared_ptr<Listeners> listeners_ = std::make_shared<Listeners>();
  std::unique_ptr<queuevm::Proxy> proxy_;
};

}  // namespace mvm::plugins::queue
