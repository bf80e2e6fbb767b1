#pragma once
// Stands between the two ends and breaks things: cuts connections, or behaves like a serial line that stays
// open on one side and forgets what is sent while the other side is away.

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "mvm/base/unique_fd.h"

namespace mvm::channel {

inline sockaddr_un socket_address(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

inline UniqueFd listen_on(const std::filesystem::path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = socket_address(path);
  ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) ::abort();
  if (::listen(fd.get(), 8) != 0) ::abort();
  return fd;
}

inline UniqueFd connect_socket(const std::filesystem::path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = socket_address(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

/// A serial line between two listening sockets, as QEMU's character device is one: each side may come and go,
/// the other does not notice; bytes to an absent side are lost.
class SerialLine {
 public:
  SerialLine(const std::filesystem::path& guest, const std::filesystem::path& host)
      : guest_listener_(listen_on(guest)), host_listener_(listen_on(host)), thread_([this] { run(); }) {}
  ~SerialLine() {
    ending_ = true;
    thread_.join();
  }
  /// Cuts the host's connection in the middle of whatever is on the way.
  void cut_host() { cut_ = true; }
  [[nodiscard]] int cuts() const { return cuts_; }

 private:
  void forward(UniqueFd& from, UniqueFd& to) {
    std::array<char, 4099> piece{};
    const ssize_t got = ::recv(from.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (got == 0) from.reset();
    for (ssize_t done = 0; got > 0 && to && done < got;) {
      const ssize_t put =
          ::send(to.get(), piece.data() + done, static_cast<std::size_t>(got - done), MSG_NOSIGNAL);
      if (put <= 0) break;
      done += put;
    }
  }
  void run() {
    UniqueFd guest;
    UniqueFd host;
    while (!ending_) {
      std::array<pollfd, 4> items{{{guest_listener_.get(), POLLIN, 0},
                                   {host_listener_.get(), POLLIN, 0},
                                   {guest.get(), POLLIN, 0},
                                   {host.get(), POLLIN, 0}}};
      ::poll(items.data(), items.size(), 10);
      if (cut_.exchange(false)) {
        host.reset();
        ++cuts_;
        continue;
      }
      if ((items[0].revents & POLLIN) != 0) guest.reset(::accept(guest_listener_.get(), nullptr, nullptr));
      if ((items[1].revents & POLLIN) != 0) host.reset(::accept(host_listener_.get(), nullptr, nullptr));
      if (items[2].revents != 0 && guest) forward(guest, host);
      if (items[3].revents != 0 && host) forward(host, guest);
    }
  }
  UniqueFd guest_listener_;
  UniqueFd host_listener_;
  std::atomic<bool> ending_{false};
  std::atomic<bool> cut_{false};
  std::atomic<int> cuts_{0};
  std::thread thread_;
};

}  // namespace mvm::channel
