// A plug-in for the tests of the kernel's loader, which does what it is told to:
//   NAME.who                       says who it is
//   NAME.call {op}                 calls an operation as this plug-in
//   NAME.load {wish}, NAME.unload {handle}, NAME.number {handle}   the kernel's loader, as this plug-in
//   function main: runs until it is told to stop; fail: fails with its first argument
//   NAME.note {..}, NAME.noted     keeps what it is told, and tells it
// ACTOR_LOADS is loaded in start(), ACTOR_NEEDS and ACTOR_OFFERS are its interfaces. ACTOR_ENDS_KERNEL:
// start() ends the kernel where there is a file end-kernel in the work folder.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "mvm/base/json.h"
#include "mvm/kernel/plugin.h"

#ifndef ACTOR_VERSION
#define ACTOR_VERSION "1.0.0"
#endif
#ifndef ACTOR_NUMBER
#define ACTOR_NUMBER 1
#endif

namespace {

using mvm::kernel::Answer;
using mvm::kernel::Call;

class Actor final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    kernel_ = &kernel;
    const std::string name = ACTOR_NAME;
    MVM_TRY(kernel.handle(name + ".who", [](Call&) -> mvm::Result<Answer> {
      return Answer{{{"name", ACTOR_NAME}, {"version", ACTOR_VERSION}, {"number", ACTOR_NUMBER}}, {}, {}};
    }));
    MVM_TRY(kernel.handle(name + ".call", [&kernel](Call& call) {
      return kernel.call({.op = mvm::text_or(call.args, "op"), .args = call.args});
    }));
    MVM_TRY(kernel.handle(name + ".load", [&kernel](Call& call) -> mvm::Result<Answer> {
      MVM_ASSIGN(const auto handle, kernel.load(mvm::text_or(call.args, "wish")));
      return Answer{{{"handle", handle}}, {}, {}};
    }));
    MVM_TRY(kernel.handle(name + ".unload", [&kernel](Call& call) -> mvm::Result<Answer> {
      if (auto done = kernel.unload(mvm::number_or(call.args, "handle")); !done) return done.error();
      return Answer{};
    }));
    MVM_TRY(kernel.handle(name + ".number", [&kernel](Call& call) -> mvm::Result<Answer> {
      const auto* number =
          static_cast<const int*>(kernel.symbol(mvm::number_or(call.args, "handle"), "actor_number"));
      if (number == nullptr) return mvm::Error(mvm::ErrorCode::kNotFound, "no such symbol");
      return Answer{{{"number", *number}}, {}, {}};
    }));
    MVM_TRY(kernel.runnable("main", [](mvm::kernel::Run& run) {
      while (!run.wait_stop(std::chrono::seconds(60)) && !run.stopping()) {
      }
      return mvm::ok();
    }));
    MVM_TRY(kernel.runnable("fail", [](mvm::kernel::Run& run) -> mvm::Status {
      return mvm::Error(mvm::ErrorCode::kFailed, run.arguments().empty() ? "nothing" : run.arguments()[0]);
    }));
    MVM_TRY(kernel.handle(name + ".note", [this](Call& call) -> mvm::Result<Answer> {
      noted_ = call.args;
      return Answer{};
    }));
    MVM_TRY(kernel.handle(name + ".noted", [this](Call&) -> mvm::Result<Answer> {
      return Answer{noted_, {}, {}};
    }));
#ifdef ACTOR_ENDS_KERNEL
    if (::access((kernel.config().work / "end-kernel").c_str(), F_OK) == 0) ::_exit(70);
#endif
#ifdef ACTOR_LOADS
    auto loaded = kernel.load(ACTOR_LOADS);
    if (!loaded) return std::move(loaded).error();
    handle_ = *loaded;
#endif
    return mvm::ok();
  }
  void stop() override {
#ifdef ACTOR_UNLOADS
    (void)kernel_->unload(handle_);
#endif
  }

 private:
  mvm::kernel::Kernel* kernel_ = nullptr;
  [[maybe_unused]] mvm::kernel::PluginHandle handle_ = 0;
  nlohmann::json noted_ = nlohmann::json::object();
};

#ifdef ACTOR_OFFERS
constexpr const char* kOffers[] = {ACTOR_OFFERS, nullptr};
#else
constexpr const char* const* kOffers = nullptr;
#endif
#ifdef ACTOR_NEEDS
constexpr const char* kNeeds[] = {ACTOR_NEEDS, nullptr};
#else
constexpr const char* const* kNeeds = nullptr;
#endif

}  // namespace

extern "C" __attribute__((visibility("default"))) const int actor_number;
extern "C" const int actor_number = ACTOR_NUMBER;

MVM_KERNEL_PLUGIN(Actor, ACTOR_NAME, ACTOR_VERSION)
MVM_PLUGIN_INTERFACES(kOffers, kNeeds)
