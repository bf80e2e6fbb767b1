// The kernels of nodes, as the generated service calls them.

#include "exchange.h"
#include "kernel_fields.h"
#include "services.h"
#include "soapKernelsService.h"

namespace mvm::soap {
namespace {

Result<KernelTargets> targets_from(const k__Targets* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "targets are needed");
  KernelTargets targets;
  FromWire{}(*wire, targets);
  return targets;
}

Result<KernelCommand> command_from(const k__Command* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "a command is needed");
  KernelCommand command;
  FromWire from;
  command.verb = static_cast<KernelCommand::Verb>(wire->verb);
  from(wire->targets, command.targets);
  command.all_or_none = wire->allOrNone;
  from(wire->plugin, command.plugins), from(wire->function, command.function);
  from(wire->argument, command.arguments), from(wire->run, command.run), from(wire->sharing, command.sharing);
  if (wire->timeoutMs != nullptr) command.timeout = std::chrono::milliseconds(*wire->timeoutMs);
  return command;
}

class KernelsImpl final : public KernelsService {
 public:
  KernelsImpl(struct soap* context, Exchange& exchange)
      : KernelsService(context), exchange_(exchange), api_(exchange.services().broker->kernels) {}
  KernelsService* copy() override { return nullptr; }

  int kernels(k__Targets* wire, k__kernelsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(KernelTargets targets, targets_from(wire));
      if (targets.lab.empty()) targets.lab = caller.lab;
      MVM_TRY(check_lab(caller, targets.lab));
      return put(r.kernel, api_.kernels(caller, targets));
    });
  }
  int command(k__Command* wire, k__commandResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(const KernelCommand command, command_from(wire));
      MVM_TRY(check_lab(caller, command.targets.lab));
      return put(r.outcome, api_.command(caller, command));
    });
  }
  int adjustPools(k__Targets* wire, k__PoolChange* change, k__adjustPoolsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(const KernelTargets targets, targets_from(wire));
      MVM_TRY(check_lab(caller, targets.lab));
      if (change == nullptr) return Error(ErrorCode::kInvalid, "a change is needed");
      PoolChange ours;
      FromWire{}(*change, ours);
      return put(r.kernel, api_.adjust_pools(caller, targets, ours));
    });
  }

 private:
  static Status check_lab(const Caller& caller, const std::string& lab) {
    if (caller.lab.empty() || caller.lab == lab) return ok();
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  }
  template <class Body>
  int with(Body body) {
    const auto caller = exchange_.caller();
    if (!caller) return exchange_.fail(caller.error());
    const Status done = body(*caller);
    return done ? SOAP_OK : exchange_.fail(done.error());
  }
  template <class Wire, class Ours>
  Status put(Wire& wire, const Result<Ours>& ours) {
    if (!ours) return ours.error();
    ToWire{soap}(wire, *ours);
    return ok();
  }
  Exchange& exchange_;
  KernelApi& api_;
};

}  // namespace

int dispatch_kernels(struct soap* context, Exchange& exchange) {
  KernelsImpl service(context, exchange);
  return service.dispatch();
}

}  // namespace mvm::soap
