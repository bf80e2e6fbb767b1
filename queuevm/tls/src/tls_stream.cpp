#include "mvm/queuevm/tls/tls_stream.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>

#include "handles.h"

namespace mvm::queuevm::tls {
namespace {

constexpr std::size_t kMost = 1 << 20;  // of one call; OpenSSL counts in int

/// What all streams of a lab share.
struct Shared {
  UniqueContext context;
  std::string lab;
};

std::string name_of(const X509* certificate, int field) {
  std::array<char, 128> text{};
  const int size = certificate == nullptr
                       ? -1
                       : X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), field, text.data(),
                                                   static_cast<int>(text.size()));
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

class TlsStream final : public ByteStream {
 public:
  TlsStream(UniqueFd socket, std::shared_ptr<const Shared> shared, bool dialled)
      : socket_(std::move(socket)), shared_(std::move(shared)), ssl_(SSL_new(shared_->context.get())) {
    if (!ssl_ || SSL_set_fd(ssl_.get(), socket_.get()) != 1) {
      ssl_.reset();
      return;
    }
    if (dialled)
      SSL_set_connect_state(ssl_.get());
    else
      SSL_set_accept_state(ssl_.get());
  }

  Result<std::size_t> read(std::span<std::byte> buffer) override {
    MVM_ASSIGN(const bool ready, shake_hands());
    if (!ready) return std::size_t{0};
    // A record may be larger than the room: all that OpenSSL holds must be taken, or nobody is told of it.
    std::size_t total = 0;
    while (total < buffer.size()) {
      ERR_clear_error();
      const int want = static_cast<int>(std::min(buffer.size() - total, kMost));
      const int got = SSL_read(ssl_.get(), buffer.data() + total, want);
      if (got > 0) {
        total += static_cast<std::size_t>(got);
        continue;
      }
      if (total > 0) break;  // what ended it is met again
      return outcome(got, "reading from a peer");
    }
    return total;
  }

  Result<std::size_t> write(std::span<const std::byte> bytes) override {
    MVM_ASSIGN(const bool ready, shake_hands());
    if (!ready || bytes.empty()) return std::size_t{0};
    ERR_clear_error();
    const int put = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(std::min(bytes.size(), kMost)));
    if (put > 0) return static_cast<std::size_t>(put);
    return outcome(put, "writing to a peer");
  }

  [[nodiscard]] int fd() const override { return socket_.get(); }
  [[nodiscard]] bool wants_write() const override { return wants_write_; }
  [[nodiscard]] bool ready() const override { return !peer_.empty(); }
  [[nodiscard]] std::string peer() const override { return peer_; }

 private:
  /// True once done, and the peer found to be of our lab.
  Result<bool> shake_hands() {
    if (!peer_.empty()) return true;
    if (!ssl_) return Error(ErrorCode::kExhausted, "no TLS connection could be made");
    ERR_clear_error();
    if (const int done = SSL_do_handshake(ssl_.get()); done != 1) {
      MVM_TRY(outcome(done, "the TLS handshake with a peer"));
      return false;
    }
    wants_write_ = false;
    const X509* certificate = SSL_get0_peer_certificate(ssl_.get());
    if (name_of(certificate, NID_organizationalUnitName) != shared_->lab)
      return Error(ErrorCode::kRefused, "a peer has a certificate of another lab");
    peer_ = name_of(certificate, NID_commonName);
    if (peer_.empty()) return Error(ErrorCode::kRefused, "a peer has a certificate without a name");
    return true;
  }

  /// 0 where it goes on once the socket is ready.
  Result<std::size_t> outcome(int result, const char* what) {
    const int error = SSL_get_error(ssl_.get(), result);
    wants_write_ = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return std::size_t{0};
    const long verdict = SSL_get_verify_result(ssl_.get());
    const bool refused = error == SSL_ERROR_SSL && peer_.empty();
    std::string why = openssl_error();
    if (error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_SYSCALL) why = "the peer closed the connection";
    if (refused && verdict != X509_V_OK) why = X509_verify_cert_error_string(verdict);
    return Error(refused ? ErrorCode::kRefused : ErrorCode::kUnavailable, std::string(what) + ": " + why);
  }

  UniqueFd socket_;
  std::shared_ptr<const Shared> shared_;
  UniqueSsl ssl_;
  std::string peer_;
  std::atomic<bool> wants_write_{false};  // asked by any thread
};

UniqueBio text_bio(const std::string& text) {
  return UniqueBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

UniqueX509 read_certificate(const std::string& pem) {
  return UniqueX509(PEM_read_bio_X509(text_bio(pem).get(), nullptr, nullptr, nullptr));
}

bool set_up(SSL_CTX* context, X509* own, EVP_PKEY* key, X509* authority) {
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_use_certificate(context, own) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1 &&
         SSL_CTX_check_private_key(context) == 1 &&
         X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority) == 1 &&
         SSL_CTX_add_client_CA(context, authority) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1;
}

}  // namespace

Result<StreamFactory> make_streams(const Identity& identity) {
  const UniqueX509 own = read_certificate(identity.certificate);
  const UniqueX509 authority = read_certificate(identity.authority);
  const UniqueKey key(PEM_read_bio_PrivateKey(text_bio(identity.key).get(), nullptr, nullptr, nullptr));
  auto shared = std::make_shared<Shared>();
  shared->context.reset(SSL_CTX_new(TLS_method()));
  shared->lab = name_of(own.get(), NID_organizationalUnitName);
  SSL_CTX* context = shared->context.get();
  if (!own || !authority || !key || context == nullptr || shared->lab.empty() ||
      !set_up(context, own.get(), key.get(), authority.get()))
    return Error(ErrorCode::kInvalid, "the lab's certificate for links is damaged: " + openssl_error());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  (void)std::signal(SIGPIPE, SIG_IGN);
  return StreamFactory(
      [shared = std::shared_ptr<const Shared>(std::move(shared))](UniqueFd socket, bool dialled) {
        return std::make_unique<TlsStream>(std::move(socket), shared, dialled);
      });
}

}  // namespace mvm::queuevm::tls
