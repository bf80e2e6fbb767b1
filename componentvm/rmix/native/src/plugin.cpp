#include "mvm/rmix/native.h"

namespace {

/// The provider that this shared object is.
class Native final : public mvm::rmix::Provider {
 public:
  std::vector<mvm::rmix::Scheme> schemes() const override { return provider_->schemes(); }
  mvm::Result<std::unique_ptr<mvm::rmix::Connection>> connect(
      const mvm::rmix::ConnectOptions& options) override {
    return provider_->connect(options);
  }
  mvm::Result<std::unique_ptr<mvm::rmix::Listener>> listen(const mvm::rmix::ListenOptions& options,
                                                           mvm::rmix::Dispatcher& dispatcher) override {
    return provider_->listen(options, dispatcher);
  }

 private:
  const std::shared_ptr<mvm::rmix::Provider> provider_ = mvm::rmix::make_native_provider();
};

}  // namespace

MVM_RMIX_PROVIDER(Native, "native", "1.0.0")
