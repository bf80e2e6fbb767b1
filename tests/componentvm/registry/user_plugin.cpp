// A plug-in that uses the registry of its kernel, both ways, for plugin_test.cpp.
#include "mvm/base/json.h"
#include "mvm/kernel/plugin.h"
#include "mvm/registry/packing.h"
#include "mvm/registry/plugin.h"

namespace {

using mvm::kernel::Answer;
using mvm::kernel::Call;

constexpr const char* kNeeds[] = {mvm::registry::kInterface, nullptr};

class User final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    MVM_TRY(kernel.handle("user.put", [&kernel](Call& call) {
      return kernel.call({.op = "registry.put", .args = call.args, .blob = call.blob});
    }));
    MVM_TRY(kernel.handle("user.direct", [this](Call&) -> mvm::Result<Answer> {
      mvm::registry::Session session(*of_(), "user-plugin");
      auto item = mvm::registry::make_item(mvm::registry::PackWriter().text("direct").take());
      auto done = session.putinfo("direct", std::move(item), mvm::registry::kPersistent);
      if (!done) return std::move(done).error();
      return Answer{};
    }));
    MVM_ASSIGN(const auto handle, kernel.load("registry"));
    of_ = reinterpret_cast<mvm::registry::RegistryOf>(kernel.symbol(handle, mvm::registry::kSymbol));
    if (of_ == nullptr) return mvm::Error(mvm::ErrorCode::kUnsupported, "the registry has no such symbol");
    return mvm::ok();
  }
  void stop() override {}

 private:
  mvm::registry::RegistryOf of_ = nullptr;
};

}  // namespace

MVM_KERNEL_PLUGIN(User, "user", "1.0.0")
MVM_PLUGIN_INTERFACES(nullptr, kNeeds)
