#pragma once
// A web server that does what a test tells it, right or wrong.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mvm/base/unique_fd.h"

namespace mvm::repository {

class Web {
 public:
  /// Answers one request for a path; the connection is closed when it returns.
  using Page = std::function<void(int connection, const std::string& path)>;

  explicit Web(Page page) : page_(std::move(page)) {
    socket_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    (void)::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size);
    (void)::listen(socket_.get(), 16);
    (void)::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Web() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& one : threads_) one.join();
  }
  Web(const Web&) = delete;
  Web& operator=(const Web&) = delete;

  [[nodiscard]] std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port) + path;
  }
  /// False once the client is gone.
  static bool say(int connection, const std::string& text) {
    return ::send(connection, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  static void answer(int connection, const std::string& body, const std::string& status = "200 OK") {
    say(connection, "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) +
                        "\r\nConnection: close\r\n\r\n" + body);
  }

  int port = 0;

 private:
  void serve() {
    for (;;) {
      const int fd = ::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      {
        const std::lock_guard lock(mutex_);
        open_.push_back(fd);
      }
      threads_.emplace_back([this, fd] { converse(fd); });
    }
  }
  void converse(int fd) {
    std::string head;
    std::array<char, 2048> piece;
    while (head.find("\r\n\r\n") == std::string::npos && (head.size() < 4 || head.starts_with("GET "))) {
      const ssize_t got = ::recv(fd, piece.data(), piece.size(), 0);
      if (got <= 0) break;
      head.append(piece.data(), static_cast<std::size_t>(got));
    }
    if (head.starts_with("GET ")) page_(fd, head.substr(4, head.find(' ', 4) - 4));
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd);
    ::close(fd);
  }

  Page page_;
  UniqueFd socket_;
  std::thread thread_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::vector<int> open_;
};

}  // namespace mvm::repository
