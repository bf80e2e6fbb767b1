// The builder: turns source into binaries, in this node, as an unprivileged user without network.

#include "mvm/kernel/plugin.h"

#include <memory>

#include "builds.h"

namespace {

class Builder final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    builds_ = std::make_unique<mvm::plugins::builder::Builds>(kernel);
    return builds_->offer();
  }
  void stop() override { builds_.reset(); }

 private:
  std::unique_ptr<mvm::plugins::builder::Builds> builds_;
};

}  // namespace

MVM_KERNEL_PLUGIN(Builder, "builder", "1.0.0")
