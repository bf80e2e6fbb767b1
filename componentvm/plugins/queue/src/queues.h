#pragma once
// wire.*: the queue-level VM of this node.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "attach_loop.h"
#include "attempt.h"
#include "mvm/kernel/plugin.h"

namespace mvm::plugins::queue {

/// All attempts of this node. Thread-safe.
class Queues {
 public:
  explicit Queues(kernel::Kernel& kernel) : kernel_(kernel) {}
  /// Takes up what a former kernel left, and offers the operations.
  [[nodiscard]] Status offer();

 private:
  Result<kernel::Answer> give(kernel::Call& call);
  Result<kernel::Answer> apply(const kernel::Call& call);
  Result<kernel::Answer> stats(const kernel::Call& call);
  Result<kernel::Answer> peek(const kernel::Call& call);
  Result<kernel::Answer> drain(const kernel::Call& call);
  Result<kernel::Answer> outside(const kernel::Call& call);
  Result<kernel::Answer> attach(const kernel::Call& call);
  Result<kernel::Answer> ended(const kernel::Call& call);
  Result<kernel::Answer> clean(const kernel::Call& call);
  [[nodiscard]] Result<std::shared_ptr<Attempt>> find(const kernel::Call& call);
  [[nodiscard]] Result<std::shared_ptr<Attempt>> find_or_make(const kernel::Call& call);
  [[nodiscard]] std::shared_ptr<Attempt> make(const std::string& name);
  Status recover();

  kernel::Kernel& kernel_;
  std::unique_ptr<AttachLoop> loop_;
  const std::shared_ptr<NodeProxy> proxy_ = std::make_shared<NodeProxy>();
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Attempt>> attempts_;
  std::atomic<int> busy_ = 0;  // calls of clients outside under way: each may wait
};

}  // namespace mvm::plugins::queue
