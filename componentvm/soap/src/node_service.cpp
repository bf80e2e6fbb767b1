// A node's own service, as the generated service calls it.

#include "exchange.h"
#include "fields.h"
#include "services.h"
#include "soapNodeService.h"

namespace mvm::soap {
namespace {

constexpr std::size_t kLongestRoute = 64;

class NodeImpl final : public NodeService {
 public:
  NodeImpl(struct soap* context, Exchange& exchange)
      : NodeService(context), exchange_(exchange), node_(*exchange.services().node) {}
  NodeService* copy() override { return nullptr; }

  int info(n__infoResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(const NodeInfoView ours, node_.info(caller));
      ToWire to{soap};
      to(r.node, ours.node), to(r.lab, ours.lab), to(r.boot, ours.boot);
      to(r.architecture, ours.architecture), to(r.version, ours.version), to(r.uptimeMs, ours.uptime_ms);
      to(r.processes, ours.processes), to(r.toolchain, ours.toolchains), to(r.peer, ours.peers);
      return ok();
    });
  }
  int processes(n__processesResponse& r) override {
    return with([&](const Caller& caller) { return put(r.process, node_.processes(caller)); });
  }
  int queues(n__queuesResponse& r) override {
    return with([&](const Caller& caller) { return put(r.queue, node_.queues(caller)); });
  }
  int plugins(n__pluginsResponse& r) override {
    return with([&](const Caller& caller) { return put(r.plugin, node_.plugins(caller)); });
  }
  int visit(std::vector<std::string> route, n__visitResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      if (route.size() > kLongestRoute) return Error(ErrorCode::kInvalid, "a route has at most 64 nodes");
      MVM_TRY(exchange_.begin_wait());  // it waits for another node, which may call this one again
      return put(r.visited, node_.visit(caller, route));
    });
  }

 private:
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
    ToWire to{soap};
    to(wire, *ours);
    return ok();
  }
  Exchange& exchange_;
  NodeApi& node_;
};

}  // namespace

int dispatch_node(struct soap* context, Exchange& exchange) {
  NodeImpl service(context, exchange);
  return service.dispatch();
}

}  // namespace mvm::soap
