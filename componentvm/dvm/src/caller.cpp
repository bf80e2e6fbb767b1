#include "caller.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "tcp_connection.h"

namespace mvm::dvm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kCallTime = std::chrono::seconds(3);

/// Connects within kCallTime; `done` is called on the loop.
void connect(asio::io_context& loop, const Endpoint& to,
             std::function<void(const error_code&, tcp::socket&)> done) {
  auto socket = std::make_shared<tcp::socket>(loop);
  auto timer = std::make_shared<asio::steady_timer>(loop, kCallTime);
  timer->async_wait([socket](const error_code& stopped) {
    error_code ignored;
    if (!stopped) socket->close(ignored);
  });
  socket->async_connect(tcp::endpoint(asio::ip::make_address_v4(to.host), to.port),
                        [socket, timer, done = std::move(done)](const error_code& problem) {
                          timer->cancel();
                          done(problem, *socket);
                        });
}

}  // namespace

void Caller::dial(const Endpoint& to, Done done) {
  if (!alive_) return;
  // Called once: with a connection that is known, or with none.
  auto once = std::make_shared<Done>(std::move(done));
  const auto finish = [once](const Link& link) {
    if (const auto call = std::exchange(*once, nullptr)) call(link);
  };
  connect(loop_, to,
          [this, watch = std::weak_ptr<int>(alive_), finish](const error_code& problem, tcp::socket& socket) {
            if (watch.expired()) return;
            if (problem || !socket.is_open()) return finish(nullptr);
            auto link = std::make_shared<std::weak_ptr<Connection>>();
            Connection::Events events = make_events_(link, finish);
            events.closed = [inner = std::move(events.closed), finish](const Error& why) {
              finish(nullptr);
              inner(why);
            };
            *link = TcpConnection::start(std::move(socket), true, identity_, std::move(events));
          });
}

void Caller::probe(const Endpoint& to, std::function<void()> refused) {
  if (!alive_) return;
  connect(loop_, to,
          [watch = std::weak_ptr<int>(alive_), refused = std::move(refused)](const error_code& problem,
                                                                             const tcp::socket&) {
            if (problem == asio::error::connection_refused && !watch.expired()) refused();
          });
}

}  // namespace mvm::dvm
