#pragma once
// TLS 1.2 or later of both ends: contexts from files or texts, and sessions over sockets. Of our own
// authorities only: no list of the system is looked at.

#include <memory>
#include <string>

#include "mvm/base/result.h"
#include "mvm/soap/certificate.h"

struct ssl_st;      // SSL of OpenSSL
struct ssl_ctx_st;  // SSL_CTX

namespace mvm::soap {

struct FreeSsl {
  void operator()(ssl_st* session) const;
};
/// One end of one connection's TLS; its owner's alone, on one thread at a time.
using UniqueSsl = std::unique_ptr<ssl_st, FreeSsl>;

struct FreeSslContext {
  void operator()(ssl_ctx_st* context) const;
};
/// What sessions have in common. Sessions may be made of it on any thread, and outlive it.
using UniqueSslContext = std::unique_ptr<ssl_ctx_st, FreeSslContext>;

enum class TlsEnd { kServer, kClient };

/// A server's context. Clients are asked for a certificate; one that our authority did not sign ends the
/// handshake, none is let through (its requests need a token). kRefused where others than its owner can read
/// the key; kInvalid where a file holds nothing of the kind, or key and certificate do not fit.
[[nodiscard]] Result<UniqueSslContext> make_server_context(const TlsFiles& files);

/// A context of either end that trusts the authority whose certificate (PEM) is given. Servers do as those of
/// make_server_context(); clients ask of the server that the authority signed its certificate, and whoever
/// shakes hands asks whether it is the right one (Connection::is_server). A client may do without `own`.
/// kInvalid where a text holds nothing of the kind, or key and certificate do not fit.
[[nodiscard]] Result<UniqueSslContext> make_context(const std::string& authority, const Certificate& own,
                                                    TlsEnd end);

/// A session over a connected stream socket, which stays its owner's; the handshake is to come. `host`: what
/// a client calls the server by (SNI); no more than a hint. Null where there is no memory for it.
[[nodiscard]] UniqueSsl make_session(const UniqueSslContext& context, int fd, TlsEnd end,
                                     const std::string& host = {});

}  // namespace mvm::soap
