#include <algorithm>

#include "noun_clients.h"
#include "registry_fields.h"
#include "soapRegistryProxy.h"

namespace mvm::soap {
namespace {

constexpr const char* kPath = "/registry";
constexpr std::chrono::milliseconds kRegistryTime{60'000};
constexpr std::chrono::milliseconds kServeTime{180'000};

unsigned clipped(std::chrono::milliseconds time) {
  return static_cast<unsigned>(std::clamp<std::int64_t>(time.count(), 0, 3'600'000));
}

r__Target* to_wire(struct soap* context, const RegistryTarget& target) {
  auto* wire = soap_new_r__Target(context);
  ToWire{context}(*wire, target);
  return wire;
}

r__Ask* to_wire(struct soap* context, const RegistryAsk& ask) {
  auto* wire = soap_new_r__Ask(context);
  ToWire to{context};
  to(wire->name, ask.name), to(wire->index, ask.index), to(wire->flag, ask.flags);
  wire->waitMs = clipped(ask.wait);
  return wire;
}

class RegistryClient final : public RegistryApi {
 public:
  explicit RegistryClient(WireClient& wire) : wire_(wire) {}

  Result<RegistryPlace> put(const Caller&, const RegistryTarget& target, const RegistryPut& put) override {
    RegistryPlace ours;
    MVM_TRY((ask<RegistryProxy, r__putResponse>(
        wire_, kPath, kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          auto* wire = soap_new_r__Put(context);
          ToWire{context}(*wire, put);
          return proxy.put(to_wire(context, target), wire, response);
        },
        [&](const auto& response) { ours = {.index = response.index, .revision = response.revision}; })));
    return ours;
  }

  Result<RegistryItem> get(const Caller&, const RegistryTarget& target, const RegistryAsk& item) override {
    RegistryItem ours;
    MVM_TRY((ask<RegistryProxy, r__getResponse>(
        wire_, kPath, item.wait + kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.get(to_wire(context, target), to_wire(context, item), response);
        },
        [&](const auto& response) {
          FromWire from;
          from(response.info, ours.info), from(response.encoding, ours.encoding);
          from.bytes(response.value, ours.value);
        })));
    return ours;
  }

  Result<std::uint64_t> erase(const Caller&, const RegistryTarget& target, const RegistryAsk& item) override {
    std::uint64_t revision = 0;
    MVM_TRY((ask<RegistryProxy, r__eraseResponse>(
        wire_, kPath, kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.erase(to_wire(context, target), to_wire(context, item), response);
        },
        [&](const auto& response) { revision = response.revision; })));
    return revision;
  }

  Result<RegistryListing> list(const Caller&, const RegistryTarget& target, const std::string& pattern,
                               const std::string& after, std::uint64_t after_index,
                               std::uint32_t limit) override {
    RegistryListing ours;
    MVM_TRY((ask<RegistryProxy, r__listResponse>(
        wire_, kPath, kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.list(to_wire(context, target), pattern, after, after_index, limit, response);
        },
        [&](const auto& response) {
          FromWire from;
          from(response.info, ours.infos), from(response.revision, ours.revision);
          from(response.more, ours.more);
        })));
    return ours;
  }

  Result<RegistryEvents> watch(const Caller&, const RegistryTarget& target, std::uint64_t after,
                               const std::string& pattern, std::chrono::milliseconds wait) override {
    RegistryEvents ours;
    MVM_TRY((ask<RegistryProxy, r__watchResponse>(
        wire_, kPath, wait + kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.watch(to_wire(context, target), after, pattern, clipped(wait), response);
        },
        [&](const auto& response) {
          FromWire from;
          from(response.event, ours.events), from(response.cursor, ours.cursor);
        })));
    return ours;
  }

  Result<std::vector<RegistryMember>> members(const Caller&, const std::string& lab) override {
    std::vector<RegistryMember> ours;
    MVM_TRY((ask<RegistryProxy, r__membersResponse>(
        wire_, kPath, kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.members(to_wire(context, RegistryTarget{.lab = lab, .node = {}}), response);
        },
        [&](const auto& response) { FromWire{}(response.member, ours); })));
    return ours;
  }

  Result<RegistryOutcome> serve(const Caller&, const std::string& lab, const std::vector<std::string>& nodes,
                                const RegistryChoice& choice) override {
    RegistryOutcome ours;
    MVM_TRY((ask<RegistryProxy, r__serveResponse>(
        wire_, kPath, kServeTime,
        [&](auto& proxy, auto* context, auto& response) {
          auto* wire = soap_new_r__Choice(context);
          ToWire{context}(*wire, choice);
          return proxy.serve(to_wire(context, RegistryTarget{.lab = lab, .node = {}}), nodes, wire, response);
        },
        [&](const auto& response) { FromWire{}(response.outcome, ours); })));
    return ours;
  }

  Status leave(const Caller&, const std::string& lab, const std::string& node, bool force) override {
    return ask<RegistryProxy, r__leaveResponse>(
        wire_, kPath, kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.leave(to_wire(context, RegistryTarget{.lab = lab, .node = node}), force, response);
        },
        [](const auto&) {});
  }

  Status confirm_lost(const Caller&, const std::string& lab, std::uint64_t id) override {
    return ask<RegistryProxy, r__confirmLostResponse>(
        wire_, kPath, kRegistryTime,
        [&](auto& proxy, auto* context, auto& response) {
          return proxy.confirmLost(to_wire(context, RegistryTarget{.lab = lab, .node = {}}), id, response);
        },
        [](const auto&) {});
  }

 private:
  WireClient& wire_;
};

}  // namespace

std::unique_ptr<RegistryApi> make_registry_client(WireClient& wire) {
  return std::make_unique<RegistryClient>(wire);
}

}  // namespace mvm::soap
