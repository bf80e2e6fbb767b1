#include <algorithm>

#include "kernel_fields.h"
#include "noun_clients.h"
#include "soapKernelsProxy.h"

namespace mvm::soap {
namespace {

constexpr const char* kPath = "/kernels";
constexpr std::chrono::milliseconds kKernelTime{60'000};  // for the slowest kernel

k__Targets* to_wire(struct soap* context, const KernelTargets& targets) {
  auto* wire = soap_new_k__Targets(context);
  ToWire{context}(*wire, targets);
  return wire;
}

class KernelClient final : public KernelApi {
 public:
  explicit KernelClient(WireClient& wire) : wire_(wire) {}

  Result<std::vector<KernelView>> kernels(const Caller&, const KernelTargets& targets) override {
    std::vector<KernelView> ours;
    MVM_TRY((ask<KernelsProxy, k__kernelsResponse>(
        wire_, kPath, kKernelTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.kernels(to_wire(context, targets), response);
        },
        [&](const auto& response) { FromWire{}(response.kernel, ours); })));
    return ours;
  }

  Result<KernelOutcome> command(const Caller&, const KernelCommand& command) override {
    KernelOutcome ours;
    MVM_TRY((ask<KernelsProxy, k__commandResponse>(
        wire_, kPath, command.timeout * 2 + kKernelTime,
        [&](auto& proxy, auto* context, auto& response) {
          auto* wire = soap_new_k__Command(context);
          ToWire to{context};
          wire->verb = static_cast<k__Verb>(command.verb);
          to(wire->targets, command.targets);
          wire->allOrNone = command.all_or_none;
          to(wire->plugin, command.plugins), to(wire->function, command.function);
          to(wire->argument, command.arguments), to(wire->run, command.run),
              to(wire->sharing, command.sharing);
          wire->timeoutMs = soap_new_unsignedInt(context);
          *wire->timeoutMs =
              static_cast<unsigned>(std::clamp<std::int64_t>(command.timeout.count(), 0, 3'600'000));
          return proxy.command(wire, response);
        },
        [&](const auto& response) { FromWire{}(response.outcome, ours); })));
    return ours;
  }

  Result<std::vector<KernelView>> adjust_pools(const Caller&, const KernelTargets& targets,
                                               const PoolChange& change) override {
    std::vector<KernelView> ours;
    MVM_TRY((ask<KernelsProxy, k__adjustPoolsResponse>(
        wire_, kPath, kKernelTime,
        [&](auto& proxy, auto* context, auto& response) {
          auto* wire = soap_new_k__PoolChange(context);
          ToWire{context}(*wire, change);
          return proxy.adjustPools(to_wire(context, targets), wire, response);
        },
        [&](const auto& response) { FromWire{}(response.kernel, ours); })));
    return ours;
  }

 private:
  WireClient& wire_;
};

}  // namespace

std::unique_ptr<KernelApi> make_kernel_client(WireClient& wire) {
  return std::make_unique<KernelClient>(wire);
}

}  // namespace mvm::soap
