#pragma once
// The node's own SOAP service: serves what the kernel knows, and calls the services of other nodes.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mvm/kernel/plugin.h"
#include "mvm/soap/identity.h"
#include "mvm/soap/node_service.h"
#include "mvm/soap/server.h"

namespace mvm::plugins::node {

/// Operations node.configure and node.call (docs/formats/guest-channel.md). What node.configure said is kept
/// in
/// `<run>/node.json`, so that a kernel that was started again serves again. Every method: any thread.
class NodeService final : public soap::NodeApi {
 public:
  explicit NodeService(kernel::Kernel& kernel) : kernel_(kernel) {}
  ~NodeService() override;
  [[nodiscard]] Status offer();

  [[nodiscard]] Result<soap::NodeInfoView> info(const soap::Caller& caller) override;
  [[nodiscard]] Result<std::vector<soap::NodeProcessView>> processes(const soap::Caller& caller) override;
  [[nodiscard]] Result<std::vector<soap::QueueView>> queues(const soap::Caller& caller) override;
  [[nodiscard]] Result<std::vector<soap::NodePluginView>> plugins(const soap::Caller& caller) override;
  [[nodiscard]] Result<std::vector<std::string>> visit(const soap::Caller& caller,
                                                       const std::vector<std::string>& route) override;

 private:
  /// Where a node serves, and what it takes to be let in.
  struct Place {
    std::string address;
    std::uint16_t port = 0;
    std::string token;
    bool operator==(const Place&) const = default;
  };
  struct Settings {
    Place own;
    std::map<std::string, Place> peers;
  };

  [[nodiscard]] static Result<Settings> settings_from(const nlohmann::json& args);
  [[nodiscard]] Result<kernel::Answer> configure(const nlohmann::json& args);
  [[nodiscard]] Status serve(const Place& place);
  [[nodiscard]] Status resume();
  [[nodiscard]] Status write_hosts(const Settings& settings) const;
  [[nodiscard]] Result<std::shared_ptr<soap::NodeClient>> peer(const std::string& name);
  [[nodiscard]] Result<kernel::Answer> call_peer(const nlohmann::json& args);

  kernel::Kernel& kernel_;
  soap::Identity identity_;
  std::mutex configuring_;  ///< one node.configure at a time
  std::mutex mutex_;        ///< what follows
  Settings settings_;
  std::map<std::string, std::shared_ptr<soap::NodeClient>> clients_;
  std::unique_ptr<soap::SoapServer> server_;  ///< last: gone before what it serves
};

}  // namespace mvm::plugins::node
