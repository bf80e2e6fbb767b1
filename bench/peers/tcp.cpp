// One blocking TCP connection between two processes: TCP_LISTEN=PORT or TCP_CONNECT=ADDRESS:PORT says which
// is which.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "measure.h"

namespace {

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct Connection {
  int fd = -1;
  void send(const char* data, std::size_t size) {
    while (size > 0) {
      const ssize_t put = ::send(fd, data, size, MSG_NOSIGNAL);
      if (put <= 0) die("send");
      data += put;
      size -= static_cast<std::size_t>(put);
    }
  }
  void receive(char* data, std::size_t size) {
    while (size > 0) {
      const ssize_t got = ::recv(fd, data, size, 0);
      if (got <= 0) die("receive");
      data += got;
      size -= static_cast<std::size_t>(got);
    }
  }
  void flush() {}
};

sockaddr_in address_of(const std::string& text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  const std::size_t colon = text.find(':');
  address.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(text.substr(colon == std::string::npos ? 0 : colon + 1))));
  if (colon != std::string::npos) inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr);
  return address;
}

int accept_one(const char* port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = address_of(port);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 1) != 0)
    die("listen");
  return ::accept(listener, nullptr, nullptr);
}

int connect_to(const char* text) {
  const sockaddr_in address = address_of(text);
  for (int tries = 0; tries < 500; ++tries) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    ::close(fd);
    usleep(10'000);  // until the other one listens
  }
  die("connect");
}

}  // namespace

int main(int argc, char** argv) {
  const measure::Config config = measure::read_arguments(argc, argv);
  const char* port = std::getenv("TCP_LISTEN");
  const char* there = std::getenv("TCP_CONNECT");
  if (port == nullptr && there == nullptr) return 2;
  Connection connection{port != nullptr ? accept_one(port) : connect_to(there)};
  const int on = 1;
  ::setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  measure::Pair pair(connection, config);
  port == nullptr ? pair.lead() : pair.follow();
  return 0;
}
