#pragma once
// soap::RegistryApi over the kernels of nodes. Any thread but the loop's.

#include <atomic>

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

 private:
  Result<host::CallReply> ask(const soap::Caller& caller, const soap::RegistryTarget& target, const char* op,
                              nlohmann::json args, std::string blob = {},
                              std::chrono::milliseconds wait = {});
  Core& core_;
  std::atomic<int> waiting_{0};
};

}  // namespace mvm::broker
