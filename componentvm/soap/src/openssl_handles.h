#pragma once
// Owners of OpenSSL's objects, and its error queue as text.

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <memory>
#include <string>

namespace mvm::soap {

template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

using UniqueBio = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;
using UniqueKey = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using UniqueX509 = std::unique_ptr<X509, OpensslFree<X509_free>>;
using UniqueRequest = std::unique_ptr<X509_REQ, OpensslFree<X509_REQ_free>>;
using UniqueExtension = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;
using UniqueBignum = std::unique_ptr<BIGNUM, OpensslFree<BN_free>>;

/// A digest as lower-case hexadecimal digits.
inline std::string to_hex(const std::array<unsigned char, 32>& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4U];
    text += "0123456789abcdef"[byte & 15U];
  }
  return text;
}

/// The oldest entry of this thread's error queue, which is emptied.
inline std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

}  // namespace mvm::soap
