// The job runner: starts, feeds and watches the job's processes on this node, and carries blobs and files.

#include "mvm/kernel/plugin.h"

#include <memory>

#include "blobs.h"
#include "processes.h"

namespace {

class JobRunner final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    blobs_ = std::make_unique<mvm::plugins::job::Blobs>(kernel.blobs());
    processes_ = std::make_unique<mvm::plugins::job::Processes>(kernel);
    MVM_TRY(blobs_->offer(kernel));
    return processes_->offer();
  }
  void stop() override {
    processes_.reset();
    blobs_.reset();
  }

 private:
  std::unique_ptr<mvm::plugins::job::Blobs> blobs_;
  std::unique_ptr<mvm::plugins::job::Processes> processes_;
};

}  // namespace

MVM_KERNEL_PLUGIN(JobRunner, "job", "1.0.0")
