#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>

#include "tcp.h"

namespace mvm::queuevm {
namespace {

class TcpStream : public ByteStream {
 public:
  explicit TcpStream(UniqueFd socket) : socket_(std::move(socket)) {}

  Result<std::size_t> read(std::span<std::byte> buffer) override {
    return received(again_if_interrupted(
        [&] { return ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT); }));
  }

  Result<std::size_t> write(std::span<const std::byte> bytes) override {
    return sent(again_if_interrupted(
        [&] { return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL); }));
  }

  Result<std::size_t> read_both(std::span<std::byte> first, std::span<std::byte> second) override {
    std::array<iovec, 2> parts{iovec{first.data(), first.size()}, iovec{second.data(), second.size()}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    return received(again_if_interrupted([&] { return ::recvmsg(socket_.get(), &message, MSG_DONTWAIT); }));
  }

  Result<std::size_t> write_pieces(std::span<const std::span<const std::byte>> pieces) override {
    std::array<iovec, 64> parts{};
    const std::size_t used = std::min(pieces.size(), parts.size());
    // The kernel only reads them.
    for (std::size_t i = 0; i < used; ++i)
      parts[i] = {const_cast<std::byte*>(pieces[i].data()), pieces[i].size()};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = used;
    return sent(again_if_interrupted(
        [&] { return ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL); }));
  }

  [[nodiscard]] int fd() const override { return socket_.get(); }

 private:
  template <typename Call>
  static ssize_t again_if_interrupted(Call call) {
    for (;;) {
      const ssize_t result = call();
      if (result >= 0 || errno != EINTR) return result;
    }
  }
  static bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

  static Result<std::size_t> received(ssize_t got) {
    if (got > 0) return static_cast<std::size_t>(got);
    if (got == 0) return Error(ErrorCode::kUnavailable, "the peer closed the connection");
    if (would_block()) return std::size_t{0};
    return Error(ErrorCode::kUnavailable,
                 std::string("reading from a peer: ") + std::system_category().message(errno));
  }

  static Result<std::size_t> sent(ssize_t put) {
    if (put >= 0) return static_cast<std::size_t>(put);
    if (would_block()) return std::size_t{0};
    return Error(ErrorCode::kUnavailable,
                 std::string("writing to a peer: ") + std::system_category().message(errno));
  }

  UniqueFd socket_;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

/// "@NAME", whose first byte stands for the zero of an abstract name.
Result<Address> parse_abstract(const std::string& text) {
  Address address;
  auto& local = reinterpret_cast<sockaddr_un&>(address.storage);
  if (text.size() < 2 || text.size() > sizeof local.sun_path)
    return Error(ErrorCode::kInvalid, "a local address has 1 to 107 bytes after the @");
  local.sun_family = AF_UNIX;
  std::memcpy(local.sun_path + 1, text.data() + 1, text.size() - 1);
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size());
  return address;
}

Result<Address> parse(const std::string& text, std::uint16_t port) {
  Address address;
  if (text.starts_with('@')) return parse_abstract(text);
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address.size = sizeof v4;
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    address.size = sizeof v6;
  } else {
    return Error(ErrorCode::kInvalid, "not a numeric address: " + text);
  }
  return address;
}

void set_options(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

Result<std::size_t> ByteStream::read_both(std::span<std::byte> first, std::span<std::byte> second) {
  if (first.empty()) return read(second);
  MVM_ASSIGN(const std::size_t got, read(first));
  if (got < first.size() || second.empty()) return got;
  const auto more = read(second);
  return got + (more ? *more : 0);  // what ended it is met again
}

std::unique_ptr<ByteStream> make_tcp_stream(UniqueFd socket, bool) {
  return std::make_unique<TcpStream>(std::move(socket));
}

namespace tcp {

Status check_address(const std::string& address) {
  MVM_ASSIGN(const Address parsed, parse(address, 1));
  static_cast<void>(parsed);
  return ok();
}

Result<std::pair<UniqueFd, std::uint16_t>> listen(const std::string& text, std::uint16_t port) {
  MVM_ASSIGN(Address address, parse(text, port));
  auto* at = reinterpret_cast<sockaddr*>(&address.storage);
  UniqueFd socket(::socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::from_errno(errno, "making a listening socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), at, address.size) != 0 || ::listen(socket.get(), 128) != 0) {
    return Error::from_errno(errno, "listening at " + text + ":" + std::to_string(port));
  }
  if (at->sa_family == AF_UNIX) return std::pair{std::move(socket), std::uint16_t{0}};
  if (::getsockname(socket.get(), at, &address.size) != 0) return Error::from_errno(errno, "getsockname");
  const std::uint16_t bound =
      ntohs(at->sa_family == AF_INET ? reinterpret_cast<sockaddr_in&>(address.storage).sin_port
                                     : reinterpret_cast<sockaddr_in6&>(address.storage).sin6_port);
  return std::pair{std::move(socket), bound};
}

UniqueFd accept(int listener) {
  UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket) set_options(socket.get());
  return socket;
}

Result<UniqueFd> connect(const std::string& text, std::uint16_t port) {
  MVM_ASSIGN(const Address address, parse(text, port));
  const auto* at = reinterpret_cast<const sockaddr*>(&address.storage);
  UniqueFd socket(::socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::from_errno(errno, "making a socket");
  set_options(socket.get());
  if (::connect(socket.get(), at, address.size) != 0 && errno != EINPROGRESS) {
    return Error::from_errno(errno, "connecting to " + text);
  }
  return socket;
}

int connect_error(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

}  // namespace tcp
}  // namespace mvm::queuevm
