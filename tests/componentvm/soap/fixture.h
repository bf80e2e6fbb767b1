#pragma once
// A server in front of a broker in memory, and raw sockets to annoy it with.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include "fakes/fake_broker_api.h"
#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"
#include "mvm/soap/client.h"
#include "mvm/soap/identity.h"
#include "mvm/soap/server.h"

namespace mvm::soap {

/// A plain TCP connection to loopback.
class RawSocket {
 public:
  explicit RawSocket(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    open_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  [[nodiscard]] bool open() const { return open_; }
  /// False where the server closed on us meanwhile.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t put = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (put <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return true;
  }
  /// All that comes until the server closes, or a whole answer is there, or the time is over.
  [[nodiscard]] std::string receive(std::chrono::milliseconds time = std::chrono::seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + time;
    std::string text;
    for (;;) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      pollfd poll{.fd = fd_.get(), .events = POLLIN, .revents = 0};
      if (left.count() <= 0 || ::poll(&poll, 1, static_cast<int>(left.count())) <= 0) return text;
      char piece[16384];
      const ssize_t got = ::recv(fd_.get(), piece, sizeof piece, 0);
      if (got <= 0) {
        closed_ = true;
        return text;
      }
      text.append(piece, static_cast<std::size_t>(got));
      if (text.find("Envelope>\n") != std::string::npos || text.find(":Envelope>") != std::string::npos)
        return text;
    }
  }
  /// True once receive() saw the server close.
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  UniqueFd fd_;
  bool open_ = false;
  bool closed_ = false;
};

class SoapServerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-soap-");
    user_ = identity_.issue({.user = "ada", .role = "user", .lab = {}});
    broker_ = std::make_unique<BrokerApi>(fake_.api());
  }
  void TearDown() override {
    client_.reset();
    server_.reset();
    ASSERT_TRUE(remove_tree(folder_));
  }
  void serve(ServerLimits limits = {}) {
    ServerOptions options;
    options.limits = limits;
    options.spool = folder_;
    auto started = SoapServer::start(std::move(options), {.identity = &identity_, .broker = broker_.get()});
    ASSERT_TRUE(started) << started.error().describe();
    server_ = std::move(*started);
    client_ = connect(user_.secret);
  }
  [[nodiscard]] std::unique_ptr<BrokerClient> connect(const std::string& token) const {
    auto client = BrokerClient::create({.url = server_->url(), .token = token});
    EXPECT_TRUE(client) << client.error().describe();
    return std::move(*client);
  }
  /// A POST as a program other than ours would send it.
  [[nodiscard]] std::string post(const std::string& body, const std::string& more_headers = {}) const {
    return "POST /broker HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; "
           "charset=utf-8\r\nAuthorization: Bearer " +
           user_.secret + "\r\n" + more_headers + "Content-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  }
  [[nodiscard]] static std::string envelope(const std::string& body) {
    return "<?xml version=\"1.0\"?><E:Envelope xmlns:E=\"http://schemas.xmlsoap.org/soap/envelope/\" "
           "xmlns:b=\"urn:mvm:broker:1\" xmlns:t=\"urn:mvm:types:1\"><E:Body>" +
           body + "</E:Body></E:Envelope>";
  }
  std::string exchange(const std::string& bytes) const {
    RawSocket socket(server_->port());
    EXPECT_TRUE(socket.open());
    socket.send(bytes);
    return socket.receive();
  }
  /// The server still serves.
  void expect_alive() const {
    const auto who = client_->whoami({});
    ASSERT_TRUE(who) << who.error().describe();
    EXPECT_EQ(who->caller.user, "ada");
  }

  std::filesystem::path folder_;
  FakeBrokerApi fake_;
  std::unique_ptr<BrokerApi> broker_;
  Identity identity_;
  Token user_;
  std::unique_ptr<SoapServer> server_;
  std::unique_ptr<BrokerClient> client_;
};

}  // namespace mvm::soap
