#include "dvm_fields.h"
#include "noun_clients.h"
#include "soapDvmProxy.h"

namespace mvm::soap {
namespace {

constexpr const char* kPath = "/dvm";
constexpr std::chrono::milliseconds kDvmTime{180'000};

d__Target* to_wire(struct soap* context, const DvmTarget& target) {
  auto* wire = soap_new_d__Target(context);
  ToWire{context}(*wire, target);
  return wire;
}

class DvmClient final : public DvmApi {
 public:
  explicit DvmClient(WireClient& wire) : wire_(wire) {}

  Result<std::vector<DvmView>> conf(const Caller&, const DvmTarget& target) override {
    std::vector<DvmView> ours;
    MVM_TRY((ask<DvmProxy, d__confResponse>(
        wire_, kPath, kDvmTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.conf(to_wire(context, target), response);
        },
        [&](const auto& response) { FromWire{}(response.machine, ours); })));
    return ours;
  }
  Result<DvmOutcome> create(const Caller&, const DvmTarget& target,
                            const std::vector<std::string>& nodes) override {
    return outcome<d__createResponse>([&](auto& proxy, auto* context, auto& response) {
      return proxy.create(to_wire(context, target), nodes, response);
    });
  }
  Result<DvmOutcome> add(const Caller&, const DvmTarget& target, const std::string& node) override {
    return outcome<d__addResponse>([&](auto& proxy, auto* context, auto& response) {
      return proxy.add(to_wire(context, target), node, response);
    });
  }
  Result<DvmOutcome> remove(const Caller&, const DvmTarget& target, const std::string& node) override {
    return outcome<d__removeResponse>([&](auto& proxy, auto* context, auto& response) {
      return proxy.remove(to_wire(context, target), node, response);
    });
  }
  Result<DvmOutcome> halt(const Caller&, const DvmTarget& target) override {
    return outcome<d__haltResponse>([&](auto& proxy, auto* context, auto& response) {
      return proxy.halt(to_wire(context, target), response);
    });
  }

 private:
  template <class Response, class Operate>
  Result<DvmOutcome> outcome(Operate operate) {
    DvmOutcome ours;
    MVM_TRY((ask<DvmProxy, Response>(wire_, kPath, kDvmTime, operate,
                                     [&](const auto& response) { FromWire{}(response.outcome, ours); })));
    return ours;
  }
  WireClient& wire_;
};

}  // namespace

std::unique_ptr<DvmApi> make_dvm_client(WireClient& wire) { return std::make_unique<DvmClient>(wire); }

}  // namespace mvm::soap
