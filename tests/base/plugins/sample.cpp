// A plug-in for the loader's tests; compiled in several variants that do not fit.
#include "base/plugins/sample.h"

#include <fcntl.h>
#include <unistd.h>

#include "mvm/base/plugin_loader.h"

#ifndef SAMPLE_KIND
#define SAMPLE_KIND "sample"
#endif
#ifndef SAMPLE_API
#define SAMPLE_API 3
#endif
#ifndef SAMPLE_ABI
#define SAMPLE_ABI mvm::kPluginAbi
#endif
#ifndef SAMPLE_VERSION
#define SAMPLE_VERSION "1.2.3"
#endif
#ifndef SAMPLE_ANSWER
#define SAMPLE_ANSWER 42
#endif
#ifndef SAMPLE_INIT
#define SAMPLE_INIT 0
#endif

namespace {

int* fini_counter = nullptr;

class Good final : public mvm::tests::Sample {
 public:
  int answer() const override { return SAMPLE_ANSWER; }
};

/// A variant that must never get this far leaves a trace.
[[maybe_unused]] int init() {
#ifdef SAMPLE_TRAP
  ::close(::open("/tmp/mvm-sample-plugin-ran", O_CREAT | O_WRONLY, 0600));
#endif
  return SAMPLE_INIT;
}

}  // namespace

extern "C" void sample_count_fini(int* counter) { fini_counter = counter; }

namespace {
[[maybe_unused]] void finish() {
  if (fini_counter != nullptr) ++*fini_counter;
}
}  // namespace

#ifdef SAMPLE_BY_NAME
extern "C" {
int sample_init_calls = 0;
}
extern "C" int by_name_init() __asm__("good.init");
extern "C" int by_name_init() {
  ++sample_init_calls;
  return init();
}
extern "C" void by_name_fini() __asm__("good.fini");
extern "C" void by_name_fini() { finish(); }
#define SAMPLE_HOOKS nullptr, nullptr
#else
#define SAMPLE_HOOKS &init, &finish
#endif

#ifndef SAMPLE_NO_DESCRIPTOR
extern "C" const mvm::MvmPluginDescriptor mvm_plugin;
extern "C" const mvm::MvmPluginDescriptor mvm_plugin = {
    mvm::kPluginMagic,
    SAMPLE_ABI,
    SAMPLE_KIND,
    SAMPLE_API,
    "good",
    SAMPLE_VERSION,
    SAMPLE_HOOKS,
    []() -> void* { return static_cast<mvm::tests::Sample*>(new Good()); },
    [](void* object) { delete static_cast<mvm::tests::Sample*>(object); }};
#endif

#ifdef SAMPLE_NEEDS
namespace {
constexpr const char* kOffers[] = {"sample/1", "sample/2", nullptr};
constexpr const char* kNeeds[] = {SAMPLE_NEEDS, nullptr};
}  // namespace
extern "C" const mvm::MvmPluginInterfaces mvm_plugin_interfaces;
extern "C" const mvm::MvmPluginInterfaces mvm_plugin_interfaces = {mvm::kPluginInterfacesMagic, kOffers,
                                                                   kNeeds};
#endif
