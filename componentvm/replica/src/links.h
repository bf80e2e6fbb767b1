#pragma once
// The links of one member: TLS 1.3 with the group's secret as pre-shared key, so that both ends prove they
// know it and nobody else reads or writes. One link per direction and pair: the caller speaks, the one called
// only welcomes or refuses. Lives on the replica's libuv loop; no call is thread-safe.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "handles.h"
#include "mvm/base/result.h"
#include "wire.h"

namespace mvm::replica {

class Links {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual wire::Hello greeting(std::uint64_t wanted) = 0;
    virtual wire::Verdict greeted(const wire::Hello& hello) = 0;  ///< somebody calls
    virtual void received(std::uint64_t from,
                          wire::Message message) = 0;  ///< views point into a buffer that dies with the call
    virtual void up(std::uint64_t id) = 0;             ///< our call to it was welcomed
    virtual void down(std::uint64_t id) = 0;           ///< that link is gone
    virtual void refused(std::uint64_t id, wire::Verdict verdict) = 0;
  };
  struct Settings {
    std::string group;
    std::string address;  ///< "HOST:PORT" to listen at; numbers only
    std::string secret;
    wire::Bounds bounds;
    std::chrono::milliseconds beat{250};
    std::size_t callers = 128;                  ///< incoming links at once
    std::size_t queue = std::size_t{80} << 20;  ///< bytes that may wait for one peer
  };

  Links(uv_loop_t* loop, Settings settings, Owner& owner);
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  /// Listens and begins to call. Whatever it returns, close() must end before the destructor.
  [[nodiscard]] Status start();

  [[nodiscard]] const std::string& address() const {
    return settings_.address;
  }  ///< with the port that was chosen

  /// Keeps a link to this member from now on; another address replaces the first. Id 0 is a caller whose
  /// number is not known yet.
  void want(std::uint64_t id, const std::string& address);
  void forget(std::uint64_t id);
  /// Ends what the member calls us through.
  void cut(std::uint64_t id);

  /// False where there is no link or too much waits already; else `sent` is called once, true when all bytes
  /// are with the kernel.
  bool send(std::uint64_t id, std::string frame, std::function<void(bool)> sent = {});
  [[nodiscard]] bool is_up(std::uint64_t id) const;
  /// Somebody else answers at its address, and did so each of the last times: another member, or who does not
  /// know the group's secret. Nobody listens where another one does, so what listened there is gone.
  [[nodiscard]] bool is_displaced(std::uint64_t id) const;
  /// Milliseconds of the loop's clock at which the member was last heard; 0: never.
  [[nodiscard]] std::uint64_t heard(std::uint64_t id) const;

  /// Ends everything; `closed` is called when nothing of it is left on the loop.
  void close(std::function<void()> closed);

 private:
  struct Link;
  struct Peer {
    std::string address;
    Link* link = nullptr;
    std::uint64_t next_try = 0;
    unsigned failures = 0;
    unsigned strangers = 0;  // that answered in its place, one after the other
  };

  Status listen();
  Status prepare_tls();
  void accept();
  void call(std::uint64_t id, Peer& peer);
  Link* make_link(bool outgoing);
  void connected(Link& link, int status);
  void bytes_in(Link& link, std::string_view bytes);
  bool shake_hands(Link& link);
  void met_stranger(const Link& link);
  void frames_in(Link& link);
  bool frame_in(Link& link, std::uint8_t kind, std::string_view body);
  void put(Link& link, std::string frame, std::function<void(bool)> sent);
  void pump(Link& link);
  void drain(Link& link, std::size_t plain);
  void end(Link& link);
  void closed_one();
  void tick();
  [[nodiscard]] std::uint64_t now() const { return uv_now(loop_); }

  static int find_session(SSL* ssl, const unsigned char* identity, std::size_t length, SSL_SESSION** session);
  static int use_session(SSL* ssl, const EVP_MD* digest, const unsigned char** identity, std::size_t* length,
                         SSL_SESSION** session);
  SSL_SESSION* make_session(SSL* ssl) const;

  uv_loop_t* loop_;
  Settings settings_;
  Owner& owner_;
  std::string key_;
  SslContext server_context_;
  SslContext client_context_;
  uv_tcp_t listener_{};
  uv_timer_t timer_{};
  unsigned open_handles_ = 0;
  bool closing_ = false;
  std::function<void()> closed_;
  std::list<std::unique_ptr<Link>> links_;
  std::map<std::uint64_t, Peer> peers_;
  std::map<std::uint64_t, std::uint64_t> heard_;
};

/// "HOST:PORT", "[HOST]:PORT": an address of numbers; "localhost" is 127.0.0.1.
Result<sockaddr_storage> parse_address(const std::string& address);

}  // namespace mvm::replica
