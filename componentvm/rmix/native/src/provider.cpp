#include "connection.h"
#include "listener.h"
#include "mvm/rmix/native.h"

namespace mvm::rmix {
namespace {

class NativeProvider final : public Provider {
 public:
  std::vector<Scheme> schemes() const override {
    return {{"native+shm", 1}, {"native+tcp", 20}, {"native+tls", 40}};
  }
  Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options) override {
    std::shared_ptr<native::Poller> poller;
    {
      const std::lock_guard lock(mutex_);
      if (!poller_) poller_ = std::make_shared<native::Poller>();
      poller = poller_;
    }
    return native::connect(options, std::move(poller));
  }
  Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher) override {
    return native::listen(options, dispatcher);
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<native::Poller> poller_;
};

}  // namespace

std::shared_ptr<Provider> make_native_provider() { return std::make_shared<NativeProvider>(); }

}  // namespace mvm::rmix
