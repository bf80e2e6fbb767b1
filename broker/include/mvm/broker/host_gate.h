#pragma once
// How other machines become hosts of a broker. docs/formats/join.md.

#include <functional>
#include <memory>
#include <string>

#include "mvm/base/result.h"
#include "mvm/host/host_agent.h"
#include "mvm/soap/certificate.h"

namespace mvm::broker {

/// Without an authority the broker has only the hosts that it was made with.
struct HostGate {
  const soap::CertificateAuthority* authority =
      nullptr;      ///< outlives the broker; signs hosts and their links
  std::string url;  ///< where machines reach this broker, "https://ADDRESS:PORT"; empty: nobody may join now
  /// The host that serves at "https://ADDRESS:PORT". Does not connect yet.
  std::function<Result<std::unique_ptr<host::HostAgent>>(const std::string& url)> connect;
};

}  // namespace mvm::broker
