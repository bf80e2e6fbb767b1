#pragma once
// soap::RegistryApi over the kernels of nodes: items in api_registry.cpp, who serves them in
// api_registry_nodes.cpp. Any thread but the loop's.

#include <atomic>
#include <mutex>

#include "api.h"
#include "mvm/soap/registry_api.h"

namespace mvm::broker {

class RegistryService final : public soap::RegistryApi {
 public:
  explicit RegistryService(Core& core) : core_(core) {}
  Result<soap::RegistryPlace> put(const soap::Caller&, const soap::RegistryTarget&,
                                  const soap::RegistryPut&) override;
  Result<soap::RegistryItem> get(const soap::Caller&, const soap::RegistryTarget&,
                                 const soap::RegistryAsk&) override;
  Result<std::uint64_t> erase(const soap::Caller&, const soap::RegistryTarget&,
                              const soap::RegistryAsk&) override;
  Result<soap::RegistryListing> list(const soap::Caller&, const soap::RegistryTarget&,
                                     const std::string& pattern, const std::string& after,
                                     std::uint64_t after_index, std::uint32_t limit) override;
  Result<soap::RegistryEvents> watch(const soap::Caller&, const soap::RegistryTarget&, std::uint64_t after,
                                     const std::string& pattern, std::chrono::milliseconds wait) override;
  Result<std::vector<soap::RegistryMember>> members(const soap::Caller&, const std::string& lab) override;
  Result<soap::RegistryOutcome> serve(const soap::Caller&, const std::string& lab,
                                      const std::vector<std::string>& nodes,
                                      const soap::RegistryChoice&) override;
  Status leave(const soap::Caller&, const std::string& lab, const std::string& node, bool force) override;
  Status confirm_lost(const soap::Caller&, const std::string& lab, std::uint64_t id) override;

 private:
  struct Seat;
  class Change;
  Result<std::vector<Seat>> look(const soap::Caller& caller, const std::string& lab,
                                 const std::vector<std::string>& nodes);
  Result<host::CallReply> ask(const soap::Caller& caller, const soap::RegistryTarget& target, const char* op,
                              nlohmann::json args, std::string blob = {},
                              std::chrono::milliseconds wait = {});
  Core& core_;
  std::atomic<int> waiting_{0};
  std::mutex serving_;  // nodes of a lab do not make two replicated registries at once
};

}  // namespace mvm::broker
