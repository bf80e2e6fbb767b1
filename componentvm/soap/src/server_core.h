#pragma once
// The loop that accepts and parks connections, and the workers that answer requests.
//
// One thread owns every connection while nothing blocks: it does handshakes, reads headers and bodies of
// ordinary size, and writes answers, each under a deadline. A worker gets a request only once it is there as
// a whole, so that no slow client can hold one. Transfers of blobs, and requests that wait, take other
// places, of which there are only so many.

#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "exchange.h"
#include "mvm/base/thread_pool.h"
#include "mvm/soap/connection.h"
#include "mvm/soap/http_head.h"
#include "mvm/soap/server.h"

namespace mvm::soap {

class SoapServer::Core final : public Places {
 public:
  Core(ServerOptions options, Services services);
  ~Core() override;
  [[nodiscard]] Status start();
  void stop();
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string url() const;
  [[nodiscard]] ServerStats stats() const;

  bool move(Place from, Place to) override;
  [[nodiscard]] bool stopping() const override { return stopping_.load(); }

 private:
  using Tcp = boost::asio::ip::tcp;
  enum class Phase { kHandshake, kHead, kBody, kWorking, kFlush, kDrain };

  /// One connection. The loop's, except while kWorking.
  struct Session {
    Session(Tcp::socket accepted, UniqueSsl ssl)
        : socket(std::move(accepted)),
          timer(socket.get_executor()),
          link(socket.native_handle(), std::move(ssl)) {}
    Tcp::socket socket;
    boost::asio::steady_timer timer;
    Connection link;
    Phase phase = Phase::kHandshake;
    std::string in, out;
    std::size_t out_at = 0;
    std::size_t drained = 0;
    HttpHead head;
    bool keep = false;
  };
  using SessionPtr = std::shared_ptr<Session>;

  // Loop thread only.
  void accept();
  [[nodiscard]] Status open_acceptor();
  void begin(Tcp::socket socket);
  void arm(const SessionPtr& session, std::chrono::milliseconds time);
  void wait(const SessionPtr& session, Io wanted);
  void advance(const SessionPtr& session);
  [[nodiscard]] bool step(const SessionPtr& session);
  [[nodiscard]] bool read_head(const SessionPtr& session);
  [[nodiscard]] bool read_body(const SessionPtr& session);
  [[nodiscard]] bool flush(const SessionPtr& session);
  [[nodiscard]] bool drain(const SessionPtr& session);
  void decide(const SessionPtr& session);
  void answer_get(const SessionPtr& session);
  [[nodiscard]] std::string plugin_answer(const HttpHead& head) const;
  void refuse(const SessionPtr& session, int status, const Error& error);
  void reply(const SessionPtr& session, std::string bytes, bool keep);
  void enqueue(const SessionPtr& session, Place place);
  void start_next();
  void work(const SessionPtr& session, Place place, bool streaming);
  void finish(const SessionPtr& session);
  void close(const SessionPtr& session);

  // Worker threads.
  void serve(const SessionPtr& session, Place place, bool streaming);
  [[nodiscard]] struct soap* take_context();
  void give_context(struct soap* context);

  [[nodiscard]] ThreadPoolLimits pool_limits() const;
  [[nodiscard]] bool take(Place place);
  void release(Place place);
  [[nodiscard]] std::optional<std::string> document(const HttpHead& head, std::string& type) const;
  [[nodiscard]] bool offered(const std::string& service) const;

  ServerOptions options_;
  Services services_;
  UniqueSslContext tls_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};

  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> busy_{io_.get_executor()};
  Tcp::acceptor acceptor_{io_};
  boost::asio::steady_timer accept_pause_{io_};
  std::set<SessionPtr> sessions_;
  std::deque<SessionPtr> waiting_, waiting_transfers_;

  mutable std::mutex mutex_;
  std::array<std::size_t, 3> used_{};
  std::array<std::size_t, 3> most_{};
  ServerStats stats_;
  std::vector<struct soap*> contexts_;

  std::unique_ptr<ThreadPool> pool_;
  std::thread loop_;
};

}  // namespace mvm::soap
