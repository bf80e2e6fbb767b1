#pragma once
// TLS for servers: version 1.2 or later, our own authority only.

#include "mvm/base/result.h"
#include "mvm/soap/certificate.h"
#include "openssl_handles.h"

namespace mvm::soap {

/// A server's context. Clients are asked for a certificate; one that our authority did not sign ends the
/// handshake, none is let through (its requests need a token).
[[nodiscard]] Result<UniqueSslContext> make_server_context(const TlsFiles& files);

}  // namespace mvm::soap
