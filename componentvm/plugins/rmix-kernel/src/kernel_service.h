#pragma once
// The kernel's functions as a service. [Engelmann & Geist, lightweight kernel, §3: the stub plug-in]

#include "kernel.rmix.h"
#include "mvm/kernel/plugin.h"

namespace mvm::plugins::rmix_kernel {

/// Any thread.
class KernelService final : public KernelServer {
 public:
  explicit KernelService(kernel::Kernel& kernel) : kernel_(kernel) {}

  rmix::Reply<NodeInfo> info() override;
  rmix::Reply<std::vector<PluginInfo>> plugins() override;
  rmix::Reply<void> load(std::vector<std::string> plugins) override;
  rmix::Reply<void> unload(std::string plugin) override;
  rmix::Reply<std::string> run(std::string plugin, std::string function,
                               std::vector<std::string> arguments) override;
  rmix::Reply<void> stop(std::string run) override;
  rmix::Reply<std::vector<RunInfo>> runs() override;
  rmix::Reply<Pool> pool(Pool wanted) override;
  rmix::Reply<ProcessInfo> start_process(std::string id, std::vector<std::string> arguments) override;
  rmix::Reply<ProcessInfo> process(std::string id) override;
  rmix::Reply<void> signal_process(std::string id, std::int32_t number) override;
  rmix::Reply<void> forget_process(std::string id) override;
  rmix::Reply<Done> operation(std::string name, std::string arguments, rmix::Bytes blob) override;

 private:
  [[nodiscard]] Result<kernel::Answer> ask(const std::string& op, nlohmann::json args, std::string blob = {});

  kernel::Kernel& kernel_;
};

}  // namespace mvm::plugins::rmix_kernel
