#include "connection.h"
#include "listener.h"
#include "mvm/rmix/onc.h"

namespace mvm::rmix {
namespace {

class OncProvider final : public Provider {
 public:
  std::vector<Scheme> schemes() const override { return {{"onc+tcp", 60}}; }
  Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options) override {
    return onc::connect(options);
  }
  Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher) override {
    return onc::listen(options, dispatcher);
  }
};

}  // namespace

std::shared_ptr<Provider> make_onc_provider() { return std::make_shared<OncProvider>(); }

}  // namespace mvm::rmix
