#pragma once
// Owners of OpenSSL's objects.

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace mvm::queuevm::tls {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

using UniqueBio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using UniqueKey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using UniqueX509 = std::unique_ptr<X509, Freed<X509_free>>;
using UniqueContext = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using UniqueSsl = std::unique_ptr<SSL, Freed<SSL_free>>;

/// The oldest entry of this thread's error queue, which is emptied.
inline std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "no reason given" : reason;
}

}  // namespace mvm::queuevm::tls
