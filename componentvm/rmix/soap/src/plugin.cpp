// The provider as a plug-in.

#include "mvm/rmix/soap.h"

namespace {

/// The provider that this shared object is.
class Soap final : public mvm::rmix::Provider {
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
  const std::shared_ptr<mvm::rmix::Provider> provider_ = mvm::rmix::make_soap_provider();
};

}  // namespace

MVM_RMIX_PROVIDER(Soap, "soap", "1.0.0")
