#pragma once
// The generated services, each joined to the interface behind it. Answers gSOAP's code; SOAP_NO_METHOD where
// the request is for another service.

struct soap;

namespace mvm::soap {

class Exchange;
int dispatch_broker(struct soap* context, Exchange& exchange);
int dispatch_store(struct soap* context, Exchange& exchange);
int dispatch_node(struct soap* context, Exchange& exchange);
int dispatch_host(struct soap* context, Exchange& exchange);
int dispatch_kernels(struct soap* context, Exchange& exchange);
int dispatch_registry(struct soap* context, Exchange& exchange);
int dispatch_dvm(struct soap* context, Exchange& exchange);

}  // namespace mvm::soap
