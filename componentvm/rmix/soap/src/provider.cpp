#include "connection_end.h"
#include "listener.h"
#include "mvm/rmix/soap.h"

namespace mvm::rmix {
namespace {

class SoapProvider final : public Provider {
 public:
  std::vector<Scheme> schemes() const override { return {{"soap+http", 200}, {"soap+https", 250}}; }
  Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options) override {
    return soap::connect(options);
  }
  Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher) override {
    return soap::listen(options, dispatcher);
  }
};

}  // namespace

std::shared_ptr<Provider> make_soap_provider() { return std::make_shared<SoapProvider>(); }

}  // namespace mvm::rmix
