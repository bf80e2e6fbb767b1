// A resource manager of somebody else's: it knows one name, and where that lies (FINDER_FILE beside its own
// file says so).
#include <cstdlib>
#include <fstream>

#include "mvm/base/json.h"
#include "mvm/kernel/plugin.h"

namespace {

using mvm::kernel::Answer;
using mvm::kernel::Call;

class Finder final : public mvm::kernel::Plugin {
 public:
  mvm::Status start(mvm::kernel::Kernel& kernel) override {
    const std::filesystem::path where = kernel.config().work / "finder";
    return kernel.handle("resources.resolve", [where](Call& call) -> mvm::Result<Answer> {
      std::ifstream file(where);
      std::string urn;
      std::string url;
      file >> urn >> url;
      if (mvm::text_or(call.args, "urn") != urn)
        return mvm::Error(mvm::ErrorCode::kNotFound, "the finder knows only " + urn);
      return Answer{{{"url", url}}, {}, {}};
    });
  }
  void stop() override {}
};

constexpr const char* kOffers[] = {"harness.resource-manager/1", nullptr};

}  // namespace

MVM_KERNEL_PLUGIN(Finder, "finder", "1.0.0")
MVM_PLUGIN_INTERFACES(kOffers, nullptr)
