// The Resource Catalog, for the plug-ins of this kernel and its host.

#include "mvm/kernel/plugin.h"

#include <memory>

#include "catalog.h"

namespace {

class CatalogPlugin final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    MVM_ASSIGN(catalog_, mvm::plugins::catalog::Catalog::open(kernel));
    return catalog_->offer();
  }
  void stop() override { catalog_.reset(); }

 private:
  std::unique_ptr<mvm::plugins::catalog::Catalog> catalog_;
};

}  // namespace

MVM_KERNEL_PLUGIN(CatalogPlugin, "catalog", "1.0.0")
