// A plug-in for the tests of distributed machines: it can be run, and refuses to start where its kernel's
// work folder holds a file "no-NAME".

#include <chrono>
#include <filesystem>
#include <fstream>

#include "mvm/kernel/plugin.h"

namespace {

using namespace mvm;          // NOLINT(google-build-using-namespace)
using namespace mvm::kernel;  // NOLINT(google-build-using-namespace)

class Guest final : public Plugin {
 public:
  Status start(Kernel& kernel) override {
    work_ = kernel.config().work;
    if (std::filesystem::exists(work_ / ("no-" GUEST_NAME)))
      return Error(ErrorCode::kUnsupported, "it is not welcome here");
    return kernel.runnable("main", [this](Run& run) -> Status {
      std::ofstream(work_ / "ran", std::ios::app)
          << run.id() << ' ' << (run.arguments().empty() ? "-" : run.arguments().front()) << std::endl;
      if (!run.arguments().empty() && run.arguments().front() == "once") return ok();
      while (!run.wait_stop(std::chrono::seconds(60))) {
      }
      return ok();
    });
  }
  void stop() override {}

 private:
  std::filesystem::path work_;
};

}  // namespace

MVM_KERNEL_PLUGIN(Guest, GUEST_NAME, "1.0.0")
