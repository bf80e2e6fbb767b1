// The RMIX stub plug-in: loads the base plug-in, and offers the kernel's functions as the service "kernel".

#include <memory>

#include "kernel_service.h"
#include "mvm/base/file.h"
#include "mvm/plugins/rmix.h"

namespace {

constexpr const char* kService = "kernel";

class RmixKernel final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    MVM_ASSIGN(rmix_, mvm::plugins::load_rmix(kernel));
    // Nobody waits for the ends of processes here; they are asked for.
    kernel.processes().on_exit("rmix-kernel", [&kernel](const mvm::kernel::ProcessInfo& process) {
      (void)kernel.processes().finish(
          process.id, "rmix.exit",
          {{"proc", process.id}, {"code", process.code}, {"signal", process.signal}});
    });
    MVM_TRY(
        rmix_->server().add(kService, std::make_shared<mvm::plugins::rmix_kernel::KernelService>(kernel)));
    added_ = true;
    MVM_ASSIGN(const std::string reference, rmix_->server().reference(kService));
    return mvm::write_file_durably(kernel.config().run / "rmix.reference", reference + "\n");
  }
  void stop() override {
    if (added_) (void)rmix_->server().remove(kService);
  }

 private:
  mvm::plugins::Rmix* rmix_ = nullptr;
  bool added_ = false;
};

constexpr const char* kOffered[] = {"harness.kernel.rmix/1", nullptr};

}  // namespace

MVM_KERNEL_PLUGIN(RmixKernel, "rmix-kernel", "1.0.0")
MVM_PLUGIN_INTERFACES(kOffered, nullptr)
