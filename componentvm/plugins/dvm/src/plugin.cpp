// The distributed virtual machine as a plug-in: a kernel that does not load it belongs to none and pays for
// none. [Engelmann & Geist, lightweight kernel, §4] Its settings are the file dvm.json in the kernel's run
// folder.

#include "mvm/kernel/plugin.h"

#include <unistd.h>

#include <csignal>
#include <memory>

#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "mvm/dvm/node.h"

namespace mvm::kernel {
namespace {

constexpr std::chrono::seconds kPatience{60};

class DvmPlugin final : public Plugin {
 public:
  Status start(Kernel& kernel) override {
    const NodeConfig& config = kernel.config();
    const auto folder = config.run / "dvm";
    MVM_ASSIGN(dvm::Settings settings,
               dvm::read_settings(config.run / "dvm.json", {.vm = config.lab,
                                                            .kernel = config.node,
                                                            .secret = config.run / "dvm.secret",
                                                            .users = config.run / "dvm.users",
                                                            .state = folder,
                                                            .socket = config.run / "harness.sock"}));
    dvm::Host host{
        .call = [&kernel](const std::string& op, const nlohmann::json& args) -> Result<nlohmann::json> {
          MVM_ASSIGN(Answer answer, kernel.call({op, args, {}, {}}));
          return std::move(answer.result);
        },
        .submit = [&kernel](std::function<void()> job) { return kernel.submit(std::move(job)); },
        // The launcher, which ends the kernel in good order.
        .end = [] { ::kill(::getppid(), SIGTERM); }};
    MVM_ASSIGN(node_, dvm::Node::start(std::move(settings), std::move(host)));
    return offer(kernel);
  }

  void stop() override { node_.reset(); }

 private:
  Status offer(Kernel& kernel) {
    MVM_TRY(kernel.handle("dvm.command", [this](Call& call) -> Result<Answer> {
      MVM_ASSIGN(const auto words, texts_of(call.args, "argv", 1024, 1 << 20));
      return answer(node_->command(words, kPatience));
    }));
    MVM_TRY(kernel.handle("dvm.state.put", [this](Call& call) -> Result<Answer> {
      MVM_ASSIGN(const std::string plugin, need_text(call.args, "plugin", 300));
      MVM_ASSIGN(const std::string key, need_text(call.args, "key", 1024));
      std::vector<std::string> words{"state", "put", plugin, key};
      if (call.args.contains("value")) {
        if (!call.args["value"].is_string()) return Error(ErrorCode::kInvalid, "value: expected a text");
        words.push_back(call.args["value"].get<std::string>());
      }
      return answer(node_->command(words, kPatience));
    }));
    MVM_TRY(kernel.handle("dvm.state.get", [this](Call& call) -> Result<Answer> {
      MVM_ASSIGN(const std::string plugin, need_text(call.args, "plugin", 300));
      return answer(node_->command({"getvminfo", "states/" + plugin}, kPatience));
    }));
    return kernel.handle("dvm.run-ended", [this](Call& call) -> Result<Answer> {
      node_->thread_ended(text_or(call.args, "run"));
      return Answer{};
    });
  }

  static Result<Answer> answer(Result<nlohmann::json> reply) {
    if (!reply) return std::move(reply).error();
    return Answer{*std::move(reply), {}, {}};
  }

  std::unique_ptr<dvm::Node> node_;
};

}  // namespace
}  // namespace mvm::kernel

using mvm::kernel::DvmPlugin;
MVM_KERNEL_PLUGIN(DvmPlugin, "dvm", "1.0.0")
