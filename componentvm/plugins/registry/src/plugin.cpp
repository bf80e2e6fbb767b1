// The registry of the virtual machine, for the plug-ins of this kernel, its host, and processes of its node.

#include "mvm/registry/plugin.h"

#include <memory>

#include "current.h"
#include "mvm/base/clock.h"
#include "mvm/kernel/plugin.h"
#include "operations.h"
#include "served.h"

namespace {

/// The one of this kernel, for mvm_registry(): a plug-in is there once.
mvm::registry::Registry* the_registry = nullptr;

constexpr const char* kOffers[] = {mvm::registry::kInterface, nullptr};

class RegistryPlugin final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    registry_ = std::make_unique<mvm::plugins::registry::Current>(kernel.config(), clock_);
    MVM_TRY(registry_->open());
    operations_ = std::make_unique<mvm::plugins::registry::Operations>(kernel, *registry_);
    the_registry = registry_.get();
    MVM_TRY(operations_->offer());
    MVM_ASSIGN(served_, mvm::plugins::registry::Served::open(kernel.config(), *registry_));
    return mvm::ok();
  }
  void stop() override {
    operations_.reset();
    if (registry_) registry_->stop();
    served_.reset();
    the_registry = nullptr;
    registry_.reset();
  }

 private:
  mvm::SystemClock clock_;
  std::unique_ptr<mvm::plugins::registry::Current> registry_;
  std::unique_ptr<mvm::plugins::registry::Operations> operations_;
  std::unique_ptr<mvm::plugins::registry::Served> served_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) mvm::registry::Registry* mvm_registry() {
  return the_registry;
}

MVM_KERNEL_PLUGIN(RegistryPlugin, "registry", "1.0.0")
MVM_PLUGIN_INTERFACES(kOffers, nullptr)
