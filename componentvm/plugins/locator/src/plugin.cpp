// The locator: brings plug-ins that are named by a URL to this node, and looks at them before anybody runs
// them.

#include <memory>

#include "locators.h"

namespace {

class Locator final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    locators_ = std::make_unique<mvm::plugins::locator::Locators>(kernel);
    return locators_->offer();
  }
  void stop() override { locators_.reset(); }

 private:
  std::unique_ptr<mvm::plugins::locator::Locators> locators_;
};

constexpr const char* kOffers[] = {"harness.locator/1", nullptr};

}  // namespace

MVM_KERNEL_PLUGIN(Locator, "locator", "1.0.0")
MVM_PLUGIN_INTERFACES(kOffers, nullptr)
