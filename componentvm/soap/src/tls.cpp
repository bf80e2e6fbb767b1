#include "tls.h"

#include <openssl/pem.h>

#include "mvm/base/secret_file.h"

namespace mvm::soap {
namespace {
constexpr std::size_t kLargestKey = 1 << 20;
}

Result<UniqueSslContext> make_server_context(const TlsFiles& files) {
  MVM_ASSIGN(const std::string pem,
             read_private_file(files.key, kLargestKey, {.lent = true, .linked = true}));
  const UniqueBio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const UniqueKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  UniqueSslContext context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* c = context.get();
  const auto failed = [](const std::string& what) {
    return Error(ErrorCode::kInvalid, what + ": " + openssl_error());
  };
  if (c == nullptr || SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1) return failed("set up TLS");
  if (SSL_CTX_use_certificate_chain_file(c, files.certificate.c_str()) != 1)
    return failed("read certificate " + files.certificate.string());
  if (!key || SSL_CTX_use_PrivateKey(c, key.get()) != 1 || SSL_CTX_check_private_key(c) != 1)
    return failed("read key " + files.key.string());
  if (SSL_CTX_load_verify_file(c, files.ca.c_str()) != 1)
    return failed("read authority " + files.ca.string());
  SSL_CTX_set_client_CA_list(c, SSL_load_client_CA_file(files.ca.c_str()));
  SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

}  // namespace mvm::soap
