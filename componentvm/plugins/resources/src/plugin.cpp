// The resource manager that comes with the kernel. Another plug-in that offers harness.resource-manager/1 may
// take its place.

#include "mvm/kernel/plugin.h"

#include <memory>

#include "resources.h"

namespace {

class ResourceManager final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    resources_ = std::make_unique<mvm::plugins::resources::Resources>(kernel);
    return resources_->offer();
  }
  void stop() override { resources_.reset(); }

 private:
  std::unique_ptr<mvm::plugins::resources::Resources> resources_;
};

constexpr const char* kOffers[] = {"harness.resource-manager/1", nullptr};

}  // namespace

MVM_KERNEL_PLUGIN(ResourceManager, "resources", "1.0.0")
MVM_PLUGIN_INTERFACES(kOffers, nullptr)
