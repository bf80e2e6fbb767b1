// A plug-in of the kernel: an operation that others call, and a function that runs on a thread until it is
// stopped. docs/plugins.md explains it line by line.

#include <mvm/base/json.h>
#include <mvm/kernel/plugin.h>

#include <cstdio>
#include <string>

namespace {

using mvm::kernel::Answer;
using mvm::kernel::Call;

class Hello final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    MVM_TRY(kernel.handle("hello", [](Call& call) -> mvm::Result<Answer> {
      MVM_ASSIGN(const std::string name, mvm::need_text(call.args, "name", 100));
      return Answer{{{"greeting", "hello " + name}}, {}, {}};
    }));
    return kernel.runnable("main", [&kernel](mvm::kernel::Run& run) -> mvm::Status {
      for (const std::string& name : run.arguments()) {
        Call call;
        call.op = "hello";
        call.args = {{"name", name}};
        MVM_ASSIGN(const Answer answer, kernel.call(std::move(call)));
        std::printf("%s\n", answer.result.at("greeting").get<std::string>().c_str());
      }
      std::fflush(stdout);
      while (!run.wait_stop(std::chrono::minutes(1))) {
      }
      return mvm::ok();
    });
  }
  void stop() override {}
};

constexpr const char* kOffers[] = {"example.hello/1", nullptr};
constexpr const char* kNeeds[] = {"harness.kernel/1", nullptr};

}  // namespace

MVM_KERNEL_PLUGIN(Hello, "hello", "1.0.0")
MVM_PLUGIN_INTERFACES(kOffers, kNeeds)
