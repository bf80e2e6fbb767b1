#include "mvm/rmix/sockets.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "mvm/base/host_port.h"

namespace mvm::rmix::sockets {
namespace {

constexpr std::string_view kMemory = "native+shm";

Error wrong(const std::string& endpoint) {
  return {ErrorCode::kInvalid, "endpoint: found \"" + endpoint.substr(0, 200) +
                                   "\", expected SCHEME://HOST:PORT or native+shm:PATH"};
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<Address> local_address(const std::string& path) {
  Address address;
  auto& local = reinterpret_cast<sockaddr_un&>(address.storage);
  if (path.size() < 2 || path.size() >= sizeof local.sun_path)
    return Error(ErrorCode::kInvalid, "the path of a socket has 2 to 107 bytes: " + path.substr(0, 200));
  local.sun_family = AF_UNIX;
  std::memcpy(local.sun_path, path.data(), path.size());
  if (path[0] == '@') local.sun_path[0] = '\0';
  address.size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (path[0] == '@' ? 0 : 1));
  return address;
}

Result<std::vector<Address>> addresses_of(const Place& place, bool passive) {
  if (place.scheme == kMemory) {
    MVM_ASSIGN(const Address address, local_address(place.path));
    return std::vector<Address>{address};
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(place.host.c_str(), std::to_string(place.port).c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  if (failed != 0)
    return Error(ErrorCode::kUnavailable,
                 "host " + place.host + " has no address: " + ::gai_strerror(failed));
  std::vector<Address> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Address address;
    std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
    address.size = one->ai_addrlen;
    addresses.push_back(address);
  }
  return addresses;
}

UniqueFd make_socket(const Address& address) {
  UniqueFd socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (address.storage.ss_family != AF_UNIX)
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

bool nobody_listens(const Address& address) {
  const UniqueFd socket = make_socket(address);
  return ::connect(socket.get(), address.get(), address.size) != 0 && errno == ECONNREFUSED;
}

Result<UniqueFd> connect_one(const Address& address, const std::string& what, Clock::Instant deadline) {
  UniqueFd socket = make_socket(address);
  if (!socket) return Error::from_errno(errno, "making a socket");
  if (::connect(socket.get(), address.get(), address.size) == 0) return socket;
  int error = errno;
  if (error == EINPROGRESS || error == EAGAIN) {
    if (!wait_for(socket.get(), POLLOUT, deadline))
      return Error(ErrorCode::kTimeout, what + " did not answer in time");
    socklen_t size = sizeof error;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error == 0) return socket;
  }
  return Error(ErrorCode::kUnavailable, Error::from_errno(error, "connecting to " + what).message());
}

}  // namespace

Result<Place> Place::read(const std::string& endpoint) {
  Place place;
  const std::size_t colon = endpoint.find(':');
  if (colon == std::string::npos) return wrong(endpoint);
  place.scheme = endpoint.substr(0, colon);
  std::string rest = endpoint.substr(colon + 1);
  if (place.scheme == kMemory) {
    const std::size_t query = rest.find("?server=");
    if (query != std::string::npos) place.server = rest.substr(query + 8);
    place.path = rest.substr(0, query);
    if (place.path.empty() || (place.path[0] != '/' && place.path[0] != '@')) return wrong(endpoint);
    return place;
  }
  const auto at = rest.starts_with("//") ? read_host_port(std::string_view(rest).substr(2)) : std::nullopt;
  if (!at) return wrong(endpoint);
  place.host = at->host;
  place.port = at->port;
  return place;
}

std::string Place::text() const {
  if (scheme == kMemory) return scheme + ":" + path + (server.empty() ? "" : "?server=" + server);
  return scheme + "://" + HostPort{host, port}.text();
}

Result<UniqueFd> listen_at(Place& place) {
  MVM_ASSIGN(const std::vector<Address> addresses, addresses_of(place, true));
  Address address = addresses.front();
  UniqueFd socket = make_socket(address);
  if (!socket) return Error::from_errno(errno, "making a socket");
  const bool file = place.scheme == kMemory && place.path[0] != '@';
  const int on = 1;
  if (!file) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (file && nobody_listens(address)) ::unlink(place.path.c_str());
  if (::bind(socket.get(), address.get(), address.size) != 0 || ::listen(socket.get(), 512) != 0)
    return Error::from_errno(errno, "listening at " + place.text());
  if (place.scheme == kMemory) return socket;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0)
    return Error::from_errno(errno, "getsockname");
  place.port = ntohs(address.storage.ss_family == AF_INET
                         ? reinterpret_cast<sockaddr_in&>(address.storage).sin_port
                         : reinterpret_cast<sockaddr_in6&>(address.storage).sin6_port);
  return socket;
}

Result<UniqueFd> connect_to(const Place& place, Clock::Instant deadline) {
  MVM_ASSIGN(const std::vector<Address> addresses, addresses_of(place, false));
  Error last(ErrorCode::kUnavailable, place.text() + " has no address");
  for (const Address& address : addresses) {
    auto socket = connect_one(address, place.text(), deadline);
    if (socket) return socket;
    last = std::move(socket).error();
  }
  return last;
}

UniqueFd accept_from(int listener) {
  UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  const int on = 1;
  if (socket)
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // means nothing to UNIX sockets
  return socket;
}

std::string peer_address(int socket) {
  Address address;
  address.size = sizeof address.storage;
  auto* const raw = reinterpret_cast<sockaddr*>(&address.storage);
  if (::getpeername(socket, raw, &address.size) != 0) return "unknown";
  if (address.storage.ss_family == AF_UNIX) return "unix";
  std::array<char, 128> host{};
  std::array<char, 16> port{};
  if (::getnameinfo(raw, address.size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "unknown";
  return std::string(host.data()) + ":" + port.data();
}

std::optional<std::uint32_t> peer_uid(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || credentials.pid == 0)
    return std::nullopt;
  return credentials.uid;
}

bool wait_for(int fd, short events, Clock::Instant deadline) {
  for (;;) {
    int timeout = -1;
    if (deadline != Clock::Instant::max()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      timeout = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
    }
    pollfd one{fd, events, 0};
    const int ready = ::poll(&one, 1, timeout);
    if (ready > 0) return true;
    if (ready == 0 && std::chrono::steady_clock::now() >= deadline) return false;
    if (ready < 0 && errno != EINTR) return true;  // what uses the descriptor meets the error
  }
}

Status send_descriptor(int socket, std::uint64_t note, int descriptor) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  iovec part{&note, sizeof note};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) == sizeof note) return ok();
  return Error(ErrorCode::kUnavailable, Error::from_errno(errno, "handing out shared memory").message());
}

Result<Received> receive_descriptor(int socket, Clock::Instant deadline) {
  Received received;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  iovec part{&received.note, sizeof received.note};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (!wait_for(socket, POLLIN, deadline))
    return Error(ErrorCode::kTimeout, "the server did not hand out shared memory in time");
  const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  const cmsghdr* const head = CMSG_FIRSTHDR(&message);
  if (head != nullptr && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
      head->cmsg_len == CMSG_LEN(sizeof(int))) {
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
    received.descriptor.reset(descriptor);
  }
  if (got != sizeof received.note || !received.descriptor)
    return Error(ErrorCode::kUnavailable, "the server hands out no shared memory");
  return received;
}

}  // namespace mvm::rmix::sockets
