#pragma once
// The C libraries of this folder, and the only place that includes them: libuv, libraft, OpenSSL.

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <uv.h>

extern "C" {  // libraft's headers do not say so themselves
#include <raft.h>
#include <raft/uv.h>
}

#include <memory>

#include "mvm/base/error.h"

namespace mvm::replica {

struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using Ssl = std::unique_ptr<SSL, SslFree>;
using SslContext = std::unique_ptr<SSL_CTX, SslFree>;
using SslSession = std::unique_ptr<SSL_SESSION, SslFree>;

inline Error uv_error(int code, const std::string& what) {
  return {code == UV_EADDRINUSE ? ErrorCode::kUnavailable : ErrorCode::kIo, what + ": " + uv_strerror(code)};
}

}  // namespace mvm::replica
