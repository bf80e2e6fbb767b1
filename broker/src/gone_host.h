#pragma once
// A host that was removed: what labs had there is gone, which is what their teardown asks for.

#include "mvm/host/host_agent.h"

namespace mvm::broker {

class GoneHost final : public host::HostAgent {
 public:
  Result<host::HostInfo> describe() override { return gone(); }
  Result<host::LabInfo> ensure_lab(const host::LabSpec&) override { return gone(); }
  Status destroy_lab(const std::string&) override { return ok(); }
  Result<host::NodeInfo> ensure_node(const host::NodeSpec&, std::chrono::milliseconds) override {
    return gone();
  }
  Status destroy_node(const std::string&, const std::string&) override { return ok(); }
  Status suspend_node(const std::string&, const std::string&, bool) override { return gone(); }
  Result<host::CallReply> call(const std::string&, const std::string&, const std::string&,
                               const nlohmann::json&, std::string, std::chrono::milliseconds) override {
    return gone();
  }
  Status send_blob(const std::string&, const std::string&, const std::string&) override { return gone(); }
  Status fetch_blob(const std::string&, const std::string&, const std::string&) override { return gone(); }
  Status wire(const std::string&, const std::string&, const host::DomainWiring&) override { return gone(); }
  Status unwire(const std::string&, const std::string&) override { return ok(); }
  Result<host::HostEvents> events(const std::string&, std::uint64_t, std::chrono::milliseconds) override {
    return gone();
  }
  Result<host::Inventory> inventory() override { return host::Inventory{}; }
  Result<std::string> console(const std::string&, const std::string&, std::uint64_t) override {
    return gone();
  }

 private:
  static Error gone() { return Error(ErrorCode::kNotFound, "this host was removed"); }
};

}  // namespace mvm::broker
