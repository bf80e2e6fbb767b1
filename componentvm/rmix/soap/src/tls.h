#pragma once
// TLS 1.2 or later of both ends, by the identity that RMIX gives us.

#include <string>

#include "mvm/base/result.h"
#include "mvm/rmix/provider.h"
#include "openssl_handles.h"

namespace mvm::rmix::soap {

/// Servers ask for a client's certificate and do without; one that the authority did not sign ends the
/// handshake.
[[nodiscard]] Result<mvm::soap::UniqueSslContext> make_context(const TlsIdentity& identity, bool server);

/// Whether the server at the other end is the one that was meant: its certificate names this host, or, where
/// it names none, is of our own organisational unit (a lab).
[[nodiscard]] bool is_server(SSL* ssl, const std::string& host);

}  // namespace mvm::rmix::soap
