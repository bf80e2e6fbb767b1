#include "tls.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <array>

namespace mvm::rmix::soap {
namespace {

using mvm::soap::UniqueBio;
using mvm::soap::UniqueKey;
using mvm::soap::UniqueX509;

UniqueBio bio_of(const std::string& text) {
  return UniqueBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

UniqueX509 certificate_of(const std::string& text) {
  const UniqueBio bio = bio_of(text);
  return UniqueX509(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

std::string unit_of(const X509* certificate) {
  std::array<char, 256> text{};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_organizationalUnitName,
                                             text.data(), text.size());
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

}  // namespace

Result<mvm::soap::UniqueSslContext> make_context(const TlsIdentity& identity, bool server) {
  mvm::soap::UniqueSslContext context(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
  SSL_CTX* c = context.get();
  const auto failed = [](const char* what) {
    return Error(ErrorCode::kInvalid, std::string(what) + ": " + mvm::soap::openssl_error());
  };
  if (c == nullptr || SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1) return failed("set up TLS");
  const UniqueX509 authority = certificate_of(identity.authority);
  if (!authority || X509_STORE_add_cert(SSL_CTX_get_cert_store(c), authority.get()) != 1)
    return failed("read the authority's certificate");
  if (server || !identity.certificate.empty()) {
    const UniqueX509 own = certificate_of(identity.certificate);
    const UniqueBio bio = bio_of(identity.key);
    const UniqueKey key(PEM_read_bio_PrivateKey(
        bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
    if (!own || !key || SSL_CTX_use_certificate(c, own.get()) != 1 ||
        SSL_CTX_use_PrivateKey(c, key.get()) != 1)
      return failed("read our certificate and its key");
  }
  if (server) SSL_CTX_add_client_CA(c, authority.get());
  SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

bool is_server(SSL* ssl, const std::string& host) {
  const UniqueX509 peer(SSL_get1_peer_certificate(ssl));
  if (!peer) return false;
  if (X509_check_host(peer.get(), host.c_str(), host.size(), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) ==
          1 ||
      X509_check_ip_asc(peer.get(), host.c_str(), 0) == 1)
    return true;
  const int names = X509_get_ext_by_NID(peer.get(), NID_subject_alt_name, -1);
  const X509* own = SSL_get_certificate(ssl);
  const std::string unit = unit_of(peer.get());
  return names < 0 && own != nullptr && !unit.empty() && unit == unit_of(own);
}

}  // namespace mvm::rmix::soap
