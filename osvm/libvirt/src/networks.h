#pragma once
// Networks of labs through libvirt.

#include <string>
#include <vector>

#include "connection.h"
#include "mvm/osvm/hypervisor.h"

namespace mvm::osvm::libvirt {

class Networks final : public NetworkProvider {
 public:
  explicit Networks(Connection& connection) : connection_(connection) {}
  Status ensure_network(const NetworkSpec& spec) override;
  Status remove_network(const std::string& name) override;
  Result<std::vector<NetworkSpec>> list_networks() override;

 private:
  Connection& connection_;
};

}  // namespace mvm::osvm::libvirt
