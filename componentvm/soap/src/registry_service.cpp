// The registries of nodes, as the generated service calls them.

#include "exchange.h"
#include "registry_fields.h"
#include "services.h"
#include "soapRegistryService.h"

namespace mvm::soap {
namespace {

Result<RegistryTarget> target_from(const Caller& caller, const r__Target* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "a target is needed");
  RegistryTarget target;
  FromWire{}(*wire, target);
  if (!caller.lab.empty() && caller.lab != target.lab)
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  return target;
}

Result<RegistryAsk> ask_from(const r__Ask* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "an item is needed");
  RegistryAsk ask;
  FromWire from;
  from(wire->name, ask.name), from(wire->index, ask.index), from(wire->flag, ask.flags);
  ask.wait = std::chrono::milliseconds(wire->waitMs);
  return ask;
}

class RegistryImpl final : public RegistryService {
 public:
  RegistryImpl(struct soap* context, Exchange& exchange)
      : RegistryService(context), exchange_(exchange), api_(exchange.services().broker->registry) {}
  RegistryService* copy() override { return nullptr; }

  int put(r__Target* target, r__Put* item, r__putResponse& r) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) -> Status {
      if (item == nullptr) return Error(ErrorCode::kInvalid, "an item is needed");
      RegistryPut ours;
      FromWire{}(*item, ours);
      MVM_ASSIGN(const auto place, api_.put(caller, where, ours));
      r.index = place.index;
      r.revision = place.revision;
      return ok();
    });
  }
  int get(r__Target* target, r__Ask* item, r__getResponse& r) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) -> Status {
      MVM_ASSIGN(const auto ask, ask_from(item));
      MVM_ASSIGN(const auto found, api_.get(caller, where, ask));
      ToWire to{soap};
      to(r.info, found.info), to(r.encoding, found.encoding);
      to.bytes(r.value, found.value);
      return ok();
    });
  }
  int erase(r__Target* target, r__Ask* item, r__eraseResponse& r) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) -> Status {
      MVM_ASSIGN(const auto ask, ask_from(item));
      MVM_ASSIGN(r.revision, api_.erase(caller, where, ask));
      return ok();
    });
  }
  int list(r__Target* target, const std::string& pattern, const std::string& after, ULONG64 after_index,
           unsigned int limit, r__listResponse& r) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) -> Status {
      MVM_ASSIGN(const auto found, api_.list(caller, where, pattern, after, after_index, limit));
      ToWire to{soap};
      to(r.info, found.infos), to(r.revision, found.revision), to(r.more, found.more);
      return ok();
    });
  }
  int watch(r__Target* target, ULONG64 after, const std::string& pattern, unsigned int wait_ms,
            r__watchResponse& r) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) -> Status {
      MVM_ASSIGN(const auto found,
                 api_.watch(caller, where, after, pattern, std::chrono::milliseconds(wait_ms)));
      ToWire to{soap};
      to(r.event, found.events), to(r.cursor, found.cursor);
      return ok();
    });
  }
  int members(r__Target* target, r__membersResponse& r) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) -> Status {
      MVM_ASSIGN(const auto members, api_.members(caller, where.lab));
      ToWire{soap}(r.member, members);
      return ok();
    });
  }
  int serve(r__Target* target,
            std::vector<std::string> nodes,  // NOLINT(performance-unnecessary-value-param)
            r__Choice* choice, r__serveResponse& r) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) -> Status {
      if (choice == nullptr) return Error(ErrorCode::kInvalid, "a choice is needed");
      RegistryChoice ours;
      FromWire{}(*choice, ours);
      MVM_ASSIGN(const auto outcome, api_.serve(caller, where.lab, nodes, ours));
      ToWire{soap}(r.outcome, outcome);
      return ok();
    });
  }
  int leave(r__Target* target, bool force, r__leaveResponse& /*r*/) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) {
      return api_.leave(caller, where.lab, where.node, force);
    });
  }
  int confirmLost(r__Target* target, ULONG64 id, r__confirmLostResponse& /*r*/) override {
    return with(target, [&](const Caller& caller, const RegistryTarget& where) {
      return api_.confirm_lost(caller, where.lab, id);
    });
  }

 private:
  template <class Body>
  int with(const r__Target* wire, Body body) {
    const auto caller = exchange_.caller();
    if (!caller) return exchange_.fail(caller.error());
    const auto target = target_from(*caller, wire);
    if (!target) return exchange_.fail(target.error());
    const Status done = body(*caller, *target);
    return done ? SOAP_OK : exchange_.fail(done.error());
  }
  Exchange& exchange_;
  RegistryApi& api_;
};

}  // namespace

int dispatch_registry(struct soap* context, Exchange& exchange) {
  RegistryImpl service(context, exchange);
  return service.dispatch();
}

}  // namespace mvm::soap
