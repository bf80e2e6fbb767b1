#pragma once
// The interfaces of BrokerApi that have a service of their own: one client each, over the same connections.

#include <memory>

#include "mvm/soap/dvm_api.h"
#include "mvm/soap/kernel_api.h"
#include "mvm/soap/registry_api.h"
#include "wire_client.h"

namespace mvm::soap {

/// `wire` must outlive it.
[[nodiscard]] std::unique_ptr<KernelApi> make_kernel_client(WireClient& wire);
[[nodiscard]] std::unique_ptr<RegistryApi> make_registry_client(WireClient& wire);
[[nodiscard]] std::unique_ptr<DvmApi> make_dvm_client(WireClient& wire);

/// One operation of the service at `path`: `operate(proxy, context, response)` calls it, `take(response)`
/// reads the answer.
template <class Proxy, class Response, class Operate, class Take>
Status ask(WireClient& wire, const char* path, std::chrono::milliseconds wait, Operate operate, Take take) {
  return wire.call(path, wait, [&](struct soap* context, const char* endpoint) {
    Proxy proxy(context);
    proxy.soap_endpoint = endpoint;
    Response response{};
    const int code = operate(proxy, context, response);
    if (code == 0) take(response);
    return code;
  });
}

}  // namespace mvm::soap
