// Plug-in "pluglets": services that providers, clients and third parties deploy into this kernel. [004, sl.
// 11-14]

#include "mvm/rmix/providers.h"
#include "operations.h"

namespace mvm::plugins::pluglets {
namespace {

class Pluglets final : public kernel::Plugin {
 public:
  Status start(kernel::Kernel& kernel) override {
    const kernel::NodeConfig& config = kernel.config();
    MVM_ASSIGN(auto policy, read_policy(config));
    container_ = mvm::pluglets::Container::create({.folder = config.prefix / "lib/mvm/pluglets",
                                                   .node = config.lab + "/" + config.node,
                                                   .policy = std::move(policy),
                                                   .tls = {},
                                                   .token = {}},
                                                  rmix::Providers::load(config.prefix / "lib/mvm/rmix"));
    return offer_operations(kernel, *container_);
  }
  void stop() override { container_.reset(); }

 private:
  std::unique_ptr<mvm::pluglets::Container> container_;
};

constexpr const char* kOffers[] = {"h2o.pluglets/1", nullptr};
constexpr const char* kNeeds[] = {"harness.kernel/1", nullptr};

}  // namespace
}  // namespace mvm::plugins::pluglets

MVM_KERNEL_PLUGIN(mvm::plugins::pluglets::Pluglets, "pluglets", "1.0.0")
MVM_PLUGIN_INTERFACES(mvm::plugins::pluglets::kOffers, mvm::plugins::pluglets::kNeeds)
