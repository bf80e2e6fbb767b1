#pragma once
// TLS 1.3 with certificates on both sides under the connections of proxies on different hosts.
// docs/formats/link-protocol.md.

#include <string>

#include "mvm/base/result.h"
#include "mvm/queuevm/proxy.h"

namespace mvm::queuevm::tls {

/// Who we are within one lab, and whom we believe; all PEM.
struct Identity {
  std::string certificate;  ///< its organisational unit is the lab, its common name our domain
  std::string key;
  std::string authority;
};

/// Streams that speak TLS 1.3 only, and only with who has a certificate of the authority for the same lab.
/// The stream then vouches for the domain that the certificate names. kInvalid where the identity is none.
/// SIGPIPE is ignored in the whole process from then on.
[[nodiscard]] Result<StreamFactory> make_streams(const Identity& identity);

}  // namespace mvm::queuevm::tls
