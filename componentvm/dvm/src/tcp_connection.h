#pragma once
// A connection over TCP.

#include <utility>
// Boost 1.74's coroutines need it first.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "connection.h"
#include "mvm/base/frame.h"

namespace mvm::dvm {

class TcpConnection final : public Connection {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  /// Takes over a connected socket. `caller`: we connected. `identity` outlives it.
  [[nodiscard]] static std::shared_ptr<TcpConnection> start(Socket socket, bool caller,
                                                            const Identity& identity, Events events);
  void send_text(std::string_view text) override;
  void close() override;
  void close_when_sent() override;
  const std::string& peer() const override { return peer_; }
  bool open() const override { return !closed_; }

 private:
  TcpConnection(Socket socket, bool caller, const Identity& identity, Events events);
  [[nodiscard]] std::shared_ptr<TcpConnection> self() {
    return std::static_pointer_cast<TcpConnection>(shared_from_this());
  }
  void begin();
  void wait();
  void read();
  Status take(const Frame& frame);
  Status greet(const Frame& frame);
  void put(const std::string& bytes);
  void write();
  void fail(const Error& error);

  Socket socket_;
  boost::asio::steady_timer deadline_;
  const bool caller_;
  const Identity& identity_;
  Events events_;
  Introduction introduction_;
  std::string peer_;
  std::optional<Sealer> sealer_;
  std::optional<Opener> opener_;
  FrameDecoder decoder_;
  std::size_t before_ready_ = 0;  // bytes taken from somebody unknown
  std::string waiting_;           // to be written next
  std::string writing_;
  bool busy_ = false;
  bool ready_ = false;
  bool closed_ = false;
  bool close_when_sent_ = false;
};

}  // namespace mvm::dvm
