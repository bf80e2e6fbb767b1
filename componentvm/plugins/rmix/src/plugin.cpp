// The RMIX base plug-in: providers, a server with its endpoints, and a client, for all plug-ins of the
// kernel.

#include <algorithm>
#include <memory>

#include "access.h"
#include "mvm/base/file.h"
#include "mvm/plugins/rmix.h"

namespace {

using mvm::Result;
using mvm::Status;

class RmixPlugin;
RmixPlugin* running = nullptr;  // what mvm_rmix() answers; set and cleared while nobody else can call it

class RmixPlugin final : public mvm::kernel::Plugin, public mvm::plugins::Rmix {
 public:
  Status start(mvm::kernel::Kernel& kernel) override {
    const mvm::kernel::NodeConfig& node = kernel.config();
    providers_ =
        mvm::rmix::Providers::load(setting(node, "providers", (node.prefix / "lib/mvm/rmix").string()));
    MVM_ASSIGN(auto access,
               mvm::plugins::Access::read(setting(node, "users", ""),
                                          setting(node, "tokens", (node.run / "rmix.token").string())));
    access_ = std::make_unique<mvm::plugins::Access>(std::move(access));
    MVM_ASSIGN(const mvm::rmix::TlsIdentity tls, identity(node));
    server_ = mvm::rmix::Server::create(
        providers_, {.permission = [this](const mvm::rmix::Caller& caller, const mvm::rmix::Interface&,
                                          const mvm::rmix::Method&) { return access_->known(caller); },
                     .tls = tls});
    client_ = mvm::rmix::Client::create(providers_, {.token = access_->own_token(), .tls = tls});
    MVM_TRY(listen(setting(node, "listen", "native+shm:" + (node.run / "rmix.socket").string())));
    running = this;
    return mvm::ok();
  }
  void stop() override {
    running = nullptr;
    client_.reset();
    server_.reset();
  }

  mvm::rmix::Server& server() override { return *server_; }
  mvm::rmix::Client& client() override { return *client_; }
  const mvm::rmix::Providers& providers() const override { return providers_; }
  Status known(const mvm::rmix::Caller& caller) const override { return access_->known(caller); }

 private:
  static std::string setting(const mvm::kernel::NodeConfig& node, const std::string& name,
                             const std::string& otherwise) {
    const auto found = node.settings.find("rmix." + name);
    return found == node.settings.end() ? otherwise : found->second;
  }

  static Result<mvm::rmix::TlsIdentity> identity(const mvm::kernel::NodeConfig& node) {
    mvm::rmix::TlsIdentity tls;
    for (auto [name, part] : {std::pair{"certificate", &tls.certificate}, std::pair{"key", &tls.key},
                              std::pair{"authority", &tls.authority}}) {
      const std::string file = setting(node, name, "");
      if (file.empty()) continue;
      MVM_ASSIGN(*part, mvm::read_file(file, 1 << 20));
    }
    return tls;
  }

  Status listen(const std::string& endpoints) {
    for (std::size_t begin = 0; begin < endpoints.size();) {
      const std::size_t end = std::min(endpoints.find_first_of(", ", begin), endpoints.size());
      if (end > begin) {
        MVM_ASSIGN(const std::string open, server_->listen(endpoints.substr(begin, end - begin)));
        mvm::log::info("rmix.listening", {{"endpoint", open}});
      }
      begin = end + 1;
    }
    return mvm::ok();
  }

  mvm::rmix::Providers providers_;
  std::unique_ptr<mvm::plugins::Access> access_;
  std::unique_ptr<mvm::rmix::Server> server_;
  std::unique_ptr<mvm::rmix::Client> client_;
};

constexpr const char* kOffered[] = {"rmix/1", nullptr};

}  // namespace

extern "C" __attribute__((visibility("default"))) mvm::plugins::Rmix* mvm_rmix() { return running; }

MVM_KERNEL_PLUGIN(RmixPlugin, "rmix", "1.0.0")
MVM_PLUGIN_INTERFACES(kOffered, nullptr)
