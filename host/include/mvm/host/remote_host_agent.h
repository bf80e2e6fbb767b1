#pragma once
// A host on another machine: HostAgent over the Host service, and the Host service over a HostAgent.

#include <memory>

#include "mvm/base/blob_store.h"
#include "mvm/host/host_agent.h"
#include "mvm/soap/host_service.h"

namespace mvm::host {

/// The broker's side. `service` (a soap::HostClient) and `blobs`, the broker's own store, outlive the agent.
/// Blobs travel on demand: one that a node of the host shall have is brought to the host first.
[[nodiscard]] std::unique_ptr<HostAgent> make_remote_host_agent(soap::HostService& service,
                                                                const BlobStore& blobs);

/// As above; the agent owns the service.
[[nodiscard]] std::unique_ptr<HostAgent> make_remote_host_agent(std::unique_ptr<soap::HostService> service,
                                                                const BlobStore& blobs);

/// The host's side: offers `agent` and the host's own `blobs` to the broker whose certificate names `broker`.
/// Both outlive the service.
[[nodiscard]] std::unique_ptr<soap::HostService> make_host_service(HostAgent& agent, const BlobStore& blobs,
                                                                   std::string broker);

}  // namespace mvm::host
