// Distributed virtual machines, as the generated service calls them.

#include "dvm_fields.h"
#include "exchange.h"
#include "services.h"
#include "soapDvmService.h"

namespace mvm::soap {
namespace {

Result<DvmTarget> target_from(const Caller& caller, const d__Target* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "a target is needed");
  DvmTarget target;
  FromWire{}(*wire, target);
  if (!caller.lab.empty() && caller.lab != target.lab)
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  return target;
}

class DvmImpl final : public DvmService {
 public:
  DvmImpl(struct soap* context, Exchange& exchange)
      : DvmService(context), exchange_(exchange), api_(exchange.services().broker->dvm) {}
  DvmService* copy() override { return nullptr; }

  int conf(d__Target* target, d__confResponse& r) override {
    return with(target, [&](const Caller& caller, const DvmTarget& which) -> Status {
      MVM_ASSIGN(const auto machines, api_.conf(caller, which));
      ToWire{soap}(r.machine, machines);
      return ok();
    });
  }
  int create(d__Target* target,
             std::vector<std::string> nodes,  // NOLINT(performance-unnecessary-value-param)
             d__createResponse& r) override {
    return with(target, [&](const Caller& caller, const DvmTarget& which) {
      return answer(api_.create(caller, which, nodes), r.outcome);
    });
  }
  int add(d__Target* target, const std::string& node, d__addResponse& r) override {
    return with(target, [&](const Caller& caller, const DvmTarget& which) {
      return answer(api_.add(caller, which, node), r.outcome);
    });
  }
  int remove(d__Target* target, const std::string& node, d__removeResponse& r) override {
    return with(target, [&](const Caller& caller, const DvmTarget& which) {
      return answer(api_.remove(caller, which, node), r.outcome);
    });
  }
  int halt(d__Target* target, d__haltResponse& r) override {
    return with(target, [&](const Caller& caller, const DvmTarget& which) {
      return answer(api_.halt(caller, which), r.outcome);
    });
  }

 private:
  Status answer(const Result<DvmOutcome>& outcome, d__Outcome& wire) {
    if (!outcome) return outcome.error();
    ToWire{soap}(wire, *outcome);
    return ok();
  }
  template <class Body>
  int with(const d__Target* wire, Body body) {
    const auto caller = exchange_.caller();
    if (!caller) return exchange_.fail(caller.error());
    const auto target = target_from(*caller, wire);
    if (!target) return exchange_.fail(target.error());
    const Status done = body(*caller, *target);
    return done ? SOAP_OK : exchange_.fail(done.error());
  }
  Exchange& exchange_;
  DvmApi& api_;
};

}  // namespace

int dispatch_dvm(struct soap* context, Exchange& exchange) {
  DvmImpl service(context, exchange);
  return service.dispatch();
}

}  // namespace mvm::soap
