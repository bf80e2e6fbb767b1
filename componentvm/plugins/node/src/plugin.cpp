// The node's SOAP service: every node is server and client [Kim et al. 2006, §4(4)].

#include "mvm/kernel/plugin.h"

#include <memory>

#include "node_service.h"

namespace {

class Node final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    service_ = std::make_unique<mvm::plugins::node::NodeService>(kernel);
    return service_->offer();
  }
  void stop() override { service_.reset(); }

 private:
  std::unique_ptr<mvm::plugins::node::NodeService> service_;
};

}  // namespace

MVM_KERNEL_PLUGIN(Node, "node", "1.0.0")
