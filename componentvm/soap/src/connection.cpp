#include "mvm/soap/connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "openssl_handles.h"

namespace mvm::soap {
namespace {

std::string subject_of(const X509* certificate, int field) {
  std::array<char, 256> text{};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), field, text.data(),
                                             static_cast<int>(text.size()));
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

}  // namespace

Connection::Connection(int fd, UniqueSsl ssl) : fd_(fd), ssl_(std::move(ssl)) {}

Io Connection::failed(int result) const {
  if (!ssl_) return errno == EAGAIN || errno == EWOULDBLOCK ? Io::kWantRead : Io::kClosed;
  const int error = SSL_get_error(ssl_.get(), result);
  ERR_clear_error();
  if (error == SSL_ERROR_WANT_READ) return Io::kWantRead;
  if (error == SSL_ERROR_WANT_WRITE) return Io::kWantWrite;
  return Io::kClosed;
}

Io Connection::handshake() {
  if (!ssl_) return Io::kDone;
  const int result = SSL_do_handshake(ssl_.get());
  return result == 1 ? Io::kDone : failed(result);
}

std::string Connection::peer_name() const {
  if (!ssl_ || SSL_get_verify_result(ssl_.get()) != X509_V_OK) return {};
  const X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  return certificate == nullptr ? std::string() : subject_of(certificate, NID_commonName);
}

bool Connection::is_server(const std::string& host) const {
  X509* peer = ssl_ ? SSL_get0_peer_certificate(ssl_.get()) : nullptr;
  if (peer == nullptr) return false;
  if (X509_check_host(peer, host.c_str(), host.size(), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1 ||
      X509_check_ip_asc(peer, host.c_str(), 0) == 1)
    return true;
  const int names = X509_get_ext_by_NID(peer, NID_subject_alt_name, -1);
  const X509* own = SSL_get_certificate(ssl_.get());
  const std::string unit = subject_of(peer, NID_organizationalUnitName);
  return names < 0 && own != nullptr && !unit.empty() && unit == subject_of(own, NID_organizationalUnitName);
}

Io Connection::read_some(std::string& to, std::size_t most) {
  std::array<char, 16384> piece;
  std::size_t total = 0;
  while (total < most) {
    const std::size_t want = std::min(piece.size(), most - total);
    const auto got = ssl_ ? static_cast<ssize_t>(SSL_read(ssl_.get(), piece.data(), static_cast<int>(want)))
                          : ::recv(fd_, piece.data(), want, 0);
    if (got > 0) {
      to.append(piece.data(), static_cast<std::size_t>(got));
      total += static_cast<std::size_t>(got);
      continue;
    }
    if (!ssl_ && got < 0 && errno == EINTR) continue;
    if (!ssl_ && got == 0) return Io::kClosed;
    return failed(static_cast<int>(got));
  }
  return Io::kDone;
}

Io Connection::write_some(std::string_view& bytes) {
  while (!bytes.empty()) {
    const std::size_t want = std::min<std::size_t>(bytes.size(), 1 << 20);
    const auto put = ssl_ ? static_cast<ssize_t>(SSL_write(ssl_.get(), bytes.data(), static_cast<int>(want)))
                          : ::send(fd_, bytes.data(), want, MSG_NOSIGNAL);
    if (put > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(put));
      continue;
    }
    if (!ssl_ && put < 0 && errno == EINTR) continue;
    const Io why = failed(static_cast<int>(put));
    return !ssl_ && why == Io::kWantRead ? Io::kWantWrite : why;
  }
  return Io::kDone;
}

bool Connection::wait(Io wanted, Deadline deadline) const {
  pollfd poll{
      .fd = fd_, .events = static_cast<short>(wanted == Io::kWantWrite ? POLLOUT : POLLIN), .revents = 0};
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    const int ready = ::poll(&poll, 1, static_cast<int>(std::min<long>(left, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

bool Connection::handshake_until(Deadline deadline) {
  for (;;) {
    const Io io = handshake();
    if (io == Io::kDone) return true;
    if (io == Io::kClosed || !wait(io, deadline)) return false;
  }
}

bool Connection::readable() const {
  if (ssl_ && SSL_pending(ssl_.get()) > 0) return true;
  pollfd poll{.fd = fd_, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

std::size_t Connection::read(char* to, std::size_t most, Deadline deadline) {
  for (;;) {
    const auto got = ssl_ ? static_cast<ssize_t>(SSL_read(
                                ssl_.get(), to, static_cast<int>(std::min<std::size_t>(most, 1 << 20))))
                          : ::recv(fd_, to, most, 0);
    if (got > 0) return static_cast<std::size_t>(got);
    if (!ssl_ && got < 0 && errno == EINTR) continue;
    if (!ssl_ && got == 0) return 0;
    const Io why = failed(static_cast<int>(got));
    if (why == Io::kClosed || !wait(why, deadline)) return 0;
  }
}

void Connection::end(std::size_t most, Deadline deadline) {
  if (ssl_) {
    (void)SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  ::shutdown(fd_, SHUT_WR);
  std::array<char, 16384> piece;
  for (std::size_t total = 0; total < most;) {
    const ssize_t got = ::recv(fd_, piece.data(), piece.size(), 0);
    if (got > 0) {
      total += static_cast<std::size_t>(got);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || !wait(Io::kWantRead, deadline)) return;
  }
}

bool Connection::write(std::string_view bytes, std::chrono::milliseconds stall) {
  while (!bytes.empty()) {
    const std::size_t before = bytes.size();
    const Io why = write_some(bytes);
    if (why == Io::kDone) return true;
    if (why == Io::kClosed) return false;
    if (bytes.size() < before) continue;
    if (!wait(why, std::chrono::steady_clock::now() + stall)) return false;
  }
  return true;
}

bool Connection::hung_up() const {
  pollfd poll{.fd = fd_, .events = POLLRDHUP, .revents = 0};
  return ::poll(&poll, 1, 0) > 0 && (poll.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace mvm::soap
