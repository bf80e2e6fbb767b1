// The queues: makes or receives the rings of this node, writes its wiring tables, hands both to the
// processes.

#include "mvm/kernel/plugin.h"

#include <memory>

#include "queues.h"

namespace {

class QueueLevel final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    queues_ = std::make_unique<mvm::plugins::queue::Queues>(kernel);
    return queues_->offer();
  }
  void stop() override { queues_.reset(); }

 private:
  std::unique_ptr<mvm::plugins::queue::Queues> queues_;
};

}  // namespace

MVM_KERNEL_PLUGIN(QueueLevel, "queue", "1.0.0")
