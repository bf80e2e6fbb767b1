#include "mvm/soap/tls.h"

#include <openssl/pem.h>
#include <sys/socket.h>

#include <memory>

#include "mvm/base/secret_file.h"
#include "openssl_handles.h"

namespace mvm::soap {
namespace {

constexpr std::size_t kLargestKey = 1 << 20;

UniqueBio bio_of(const std::string& text) {
  return UniqueBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

UniqueX509 certificate_of(const std::string& text) {
  return UniqueX509(PEM_read_bio_X509(bio_of(text).get(), nullptr, nullptr, nullptr));
}

/// A key that asks for a pass phrase is none: nobody sits at a daemon.
UniqueKey key_of(const std::string& text) {
  return UniqueKey(PEM_read_bio_PrivateKey(
      bio_of(text).get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
}

Error failed(const std::string& what) { return {ErrorCode::kInvalid, what + ": " + openssl_error()}; }

Result<UniqueSslContext> blank(TlsEnd end) {
  UniqueSslContext context(SSL_CTX_new(end == TlsEnd::kServer ? TLS_server_method() : TLS_client_method()));
  SSL_CTX* c = context.get();
  if (c == nullptr || SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1) return failed("set up TLS");
  SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

/// OpenSSL's own way to a socket writes without MSG_NOSIGNAL: a peer that has gone would end the process.
int put(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto sent = static_cast<int>(::send(static_cast<int>(BIO_get_fd(bio, nullptr)), bytes,
                                            static_cast<std::size_t>(size), MSG_NOSIGNAL));
  if (sent <= 0 && BIO_sock_should_retry(sent) != 0) BIO_set_retry_write(bio);
  return sent;
}

/// Any thread; made once, for as long as this code is loaded (a plug-in has it, too).
const BIO_METHOD* quiet_socket() {
  static const std::unique_ptr<BIO_METHOD, OpensslFree<BIO_meth_free>> method = [] {
    const BIO_METHOD* const plain = BIO_s_socket();
    BIO_METHOD* const quiet = BIO_meth_new(BIO_TYPE_SOCKET, "socket, without signals");
    if (quiet != nullptr) {
      BIO_meth_set_write(quiet, put);
      BIO_meth_set_read(quiet, BIO_meth_get_read(plain));
      BIO_meth_set_ctrl(quiet, BIO_meth_get_ctrl(plain));
      BIO_meth_set_create(quiet, BIO_meth_get_create(plain));
      BIO_meth_set_destroy(quiet, BIO_meth_get_destroy(plain));
    }
    return std::unique_ptr<BIO_METHOD, OpensslFree<BIO_meth_free>>(quiet);
  }();
  return method.get();
}

/// The descriptor stays the caller's.
bool speak_over(SSL* session, int fd) {
  BIO* const bio = quiet_socket() == nullptr ? nullptr : BIO_new(quiet_socket());
  if (bio == nullptr) return false;
  BIO_set_fd(bio, fd, BIO_NOCLOSE);
  SSL_set_bio(session, bio, bio);  // which owns it
  return true;
}

}  // namespace

void FreeSsl::operator()(ssl_st* session) const { SSL_free(session); }
void FreeSslContext::operator()(ssl_ctx_st* context) const { SSL_CTX_free(context); }

Result<UniqueSslContext> make_server_context(const TlsFiles& files) {
  MVM_ASSIGN(const std::string pem,
             read_private_file(files.key, kLargestKey, {.lent = true, .linked = true}));
  MVM_ASSIGN(UniqueSslContext context, blank(TlsEnd::kServer));
  SSL_CTX* c = context.get();
  if (SSL_CTX_use_certificate_chain_file(c, files.certificate.c_str()) != 1)
    return failed("read certificate " + files.certificate.string());
  const UniqueKey key = key_of(pem);
  if (!key || SSL_CTX_use_PrivateKey(c, key.get()) != 1 || SSL_CTX_check_private_key(c) != 1)
    return failed("read key " + files.key.string());
  if (SSL_CTX_load_verify_file(c, files.ca.c_str()) != 1)
    return failed("read authority " + files.ca.string());
  SSL_CTX_set_client_CA_list(c, SSL_load_client_CA_file(files.ca.c_str()));
  return context;
}

Result<UniqueSslContext> make_context(const std::string& authority, const Certificate& own, TlsEnd end) {
  MVM_ASSIGN(UniqueSslContext context, blank(end));
  SSL_CTX* c = context.get();
  const UniqueX509 trusted = certificate_of(authority);
  if (!trusted || X509_STORE_add_cert(SSL_CTX_get_cert_store(c), trusted.get()) != 1)
    return failed("read the authority's certificate");
  if (end == TlsEnd::kServer || !own.certificate.empty()) {
    const UniqueX509 certificate = certificate_of(own.certificate);
    const UniqueKey key = key_of(own.key);
    if (!certificate || !key || SSL_CTX_use_certificate(c, certificate.get()) != 1 ||
        SSL_CTX_use_PrivateKey(c, key.get()) != 1)
      return failed("read our certificate and its key");
  }
  if (end == TlsEnd::kServer) SSL_CTX_add_client_CA(c, trusted.get());
  return context;
}

UniqueSsl make_session(const UniqueSslContext& context, int fd, TlsEnd end, const std::string& host) {
  UniqueSsl session(SSL_new(context.get()));
  if (!session || !speak_over(session.get(), fd)) return nullptr;
  if (end == TlsEnd::kServer) {
    SSL_set_accept_state(session.get());
  } else {
    SSL_set_connect_state(session.get());
    if (!host.empty()) (void)SSL_set_tlsext_host_name(session.get(), host.c_str());
  }
  return session;
}

}  // namespace mvm::soap
