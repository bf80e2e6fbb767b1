#include "fields.h"
#include "mvm/soap/node_service.h"
#include "soapNodeProxy.h"
#include "wire_client.h"

namespace mvm::soap {

using std::chrono::milliseconds;

struct NodeClient::State {
  std::unique_ptr<WireClient> wire;

  template <class Ours, class Response, class Operate, class Take>
  Result<Ours> ask(milliseconds wait, Operate operate, Take take) {
    Ours ours{};
    const Status done = wire->call("/node", wait, [&](struct soap* context, const char* endpoint) {
      NodeProxy proxy(context);
      proxy.soap_endpoint = endpoint;
      Response response{};
      const int code = operate(proxy, response);
      if (code == SOAP_OK) take(response, ours);
      return code;
    });
    if (!done) return done.error();
    return ours;
  }
};

NodeClient::NodeClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
NodeClient::~NodeClient() = default;

Result<std::unique_ptr<NodeClient>> NodeClient::create(const NodeClientOptions& options) {
  auto state = std::make_unique<State>();
  WireOptions wire{.url = options.url,
                   .token = options.token,
                   .plain_in_lab = true,
                   .connect_timeout = options.connect_timeout,
                   .timeout = options.timeout};
  MVM_ASSIGN(state->wire, WireClient::create(std::move(wire)));
  return std::unique_ptr<NodeClient>(new NodeClient(std::move(state)));
}

Result<NodeInfoView> NodeClient::info(const Caller&) {
  return state_->ask<NodeInfoView, n__infoResponse>(
      milliseconds(0), [](NodeProxy& proxy, n__infoResponse& response) { return proxy.info(response); },
      [](const n__infoResponse& r, NodeInfoView& ours) {
        FromWire from;
        from(r.node, ours.node), from(r.lab, ours.lab), from(r.boot, ours.boot);
        from(r.architecture, ours.architecture), from(r.version, ours.version);
        from(r.uptimeMs, ours.uptime_ms), from(r.processes, ours.processes);
        from(r.toolchain, ours.toolchains), from(r.peer, ours.peers);
      });
}

Result<std::vector<NodeProcessView>> NodeClient::processes(const Caller&) {
  return state_->ask<std::vector<NodeProcessView>, n__processesResponse>(
      milliseconds(0),
      [](NodeProxy& proxy, n__processesResponse& response) { return proxy.processes(response); },
      [](const n__processesResponse& r, auto& ours) { FromWire{}(r.process, ours); });
}

Result<std::vector<QueueView>> NodeClient::queues(const Caller&) {
  return state_->ask<std::vector<QueueView>, n__queuesResponse>(
      milliseconds(0), [](NodeProxy& proxy, n__queuesResponse& response) { return proxy.queues(response); },
      [](const n__queuesResponse& r, auto& ours) { FromWire{}(r.queue, ours); });
}

Result<std::vector<NodePluginView>> NodeClient::plugins(const Caller&) {
  return state_->ask<std::vector<NodePluginView>, n__pluginsResponse>(
      milliseconds(0), [](NodeProxy& proxy, n__pluginsResponse& response) { return proxy.plugins(response); },
      [](const n__pluginsResponse& r, auto& ours) { FromWire{}(r.plugin, ours); });
}

Result<std::vector<std::string>> NodeClient::visit(const Caller&, const std::vector<std::string>& route) {
  // Every node of the route may take its time.
  return state_->ask<std::vector<std::string>, n__visitResponse>(
      milliseconds(5'000) * static_cast<int>(route.size()),
      [&](NodeProxy& proxy, n__visitResponse& response) { return proxy.visit(route, response); },
      [](const n__visitResponse& r, auto& ours) { FromWire{}(r.visited, ours); });
}

}  // namespace mvm::soap
