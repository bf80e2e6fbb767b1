#include "server_core.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <future>

#include "mvm/base/host_port.h"
#include "mvm/base/log.h"
#include "mvm/soap/tls.h"

namespace mvm::soap {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr std::size_t kReadPiece = 64 << 10;
constexpr std::size_t kMostDrained = 8 << 20;
constexpr std::string_view kPlugins = "/plugins/";
constexpr milliseconds kDrainTime{2'000};
constexpr milliseconds kAcceptPause{100};

std::size_t index(Place place) { return static_cast<std::size_t>(place); }

Error busy(const char* what) {
  return Error(ErrorCode::kUnavailable, std::string("busy: ") + what + "; try again");
}

}  // namespace

SoapServer::Core::Core(ServerOptions options, Services services)
    : options_(std::move(options)), services_(services) {
  const ServerLimits& limits = options_.limits;
  most_ = {limits.workers, limits.long_polls, limits.transfers};
}

SoapServer::Core::~Core() {
  stop();
  for (struct soap* context : contexts_) free_context(context);
}

/// Listens at the address, or takes over the socket that was given and learns its address.
Status SoapServer::Core::open_acceptor() {
  boost::system::error_code error;
  if (options_.listener >= 0) {
    sockaddr_storage at{};
    socklen_t size = sizeof at;
    int listens = 0;
    socklen_t flag = sizeof listens;
    if (::getsockname(options_.listener, reinterpret_cast<sockaddr*>(&at), &size) != 0 ||
        (at.ss_family != AF_INET && at.ss_family != AF_INET6) ||
        ::getsockopt(options_.listener, SOL_SOCKET, SO_ACCEPTCONN, &listens, &flag) != 0 || listens == 0)
      return Error(ErrorCode::kInvalid, "the socket that was passed does not listen for TCP connections");
    acceptor_.assign(at.ss_family == AF_INET ? Tcp::v4() : Tcp::v6(), options_.listener, error);
    if (!error) options_.address = acceptor_.local_endpoint(error).address().to_string();
    return error ? Status(Error(ErrorCode::kIo, "take over a socket: " + error.message())) : ok();
  }
  const auto address = asio::ip::make_address(options_.address, error);
  if (error) return Error(ErrorCode::kInvalid, "\"" + options_.address + "\" is no IP address to serve on");
  const Tcp::endpoint endpoint(address, options_.port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (error)
    return Error(ErrorCode::kIo, "serve on " + options_.address + ":" + std::to_string(options_.port) + ": " +
                                     error.message());
  return ok();
}

Status SoapServer::Core::start() {
  boost::system::error_code error;
  MVM_TRY(open_acceptor());
  const auto address = acceptor_.local_endpoint(error).address();
  const bool plain_allowed =
      address.is_loopback() || (options_.plain_in_lab && services_.node != nullptr &&
                                services_.broker == nullptr && services_.host == nullptr);
  if (!options_.tls && !plain_allowed)
    return Error(ErrorCode::kInvalid,
                 "plain HTTP is served on loopback only; " + options_.address + " needs TLS");
  if (services_.host != nullptr && !options_.tls)
    return Error(ErrorCode::kInvalid, "the host service needs TLS");
  if ((services_.broker != nullptr || services_.node != nullptr) && services_.identity == nullptr)
    return Error(ErrorCode::kInvalid, "a service without identity would be open to everybody");
  if (options_.tls) {
    MVM_ASSIGN(tls_, make_server_context(*options_.tls));
  }

  acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return Error(ErrorCode::kIo, "serve on " + url() + ": " + error.message());
  port_ = acceptor_.local_endpoint().port();
  (void)std::signal(SIGPIPE, SIG_IGN);
  pool_ = std::make_unique<ThreadPool>(pool_limits());
  asio::post(io_, [this] { accept(); });
  loop_ = std::thread([this] { io_.run(); });
  return ok();
}

void SoapServer::Core::stop() {
  if (stopping_.exchange(true) || !loop_.joinable()) return;
  std::promise<void> closed;
  asio::post(io_, [&] {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    accept_pause_.cancel();
    waiting_.clear();
    waiting_transfers_.clear();
    const auto all = sessions_;
    for (const SessionPtr& session : all) {
      // Those that were still waiting for a place are among the working ones: nobody will come for them.
      if (session->phase == Phase::kWorking) {
        ::shutdown(session->socket.native_handle(), SHUT_RDWR);  // ends its worker's reading and writing
      } else {
        close(session);
      }
    }
    closed.set_value();
  });
  closed.get_future().wait();  // from here on nothing is given to the workers
  busy_.reset();
  io_.stop();
  loop_.join();
  std::unique_ptr<ThreadPool> pool;
  {
    const std::lock_guard lock(mutex_);
    pool = std::move(pool_);
  }
  pool.reset();  // waits for the workers
  io_.restart();
  io_.poll();  // what they left behind: closing their connections
  sessions_.clear();
}

std::string SoapServer::Core::url() const {
  return (tls_ ? "https://" : "http://") + HostPort{options_.address, port_}.text();
}

ServerStats SoapServer::Core::stats() const {
  const std::lock_guard lock(mutex_);
  ServerStats now = stats_;
  now.long_polls = used_[index(Place::kPoll)];
  now.transfers = used_[index(Place::kTransfer)];
  if (pool_) now.threads = pool_->threads();
  return now;
}

// ---- places --------------------------------------------------------------------------------------------

/// As many threads as workers, and one more for each request that waits or transfers: then a request whose
/// thread is just about to be free waits that moment instead of making a new one.
ThreadPoolLimits SoapServer::Core::pool_limits() const {
  return {
      .minimum = 1,
      .maximum = most_[index(Place::kWorker)] + used_[index(Place::kPoll)] + used_[index(Place::kTransfer)],
      .queue = most_[0] + most_[1] + most_[2],
      .idle_timeout = milliseconds(10'000)};
}

bool SoapServer::Core::take(Place place) {
  const std::lock_guard lock(mutex_);
  if (used_[index(place)] >= most_[index(place)]) return false;
  ++used_[index(place)];
  if (place != Place::kWorker && pool_) (void)pool_->adjust(pool_limits());
  return true;
}

void SoapServer::Core::release(Place place) {
  {
    const std::lock_guard lock(mutex_);
    --used_[index(place)];
    if (place != Place::kWorker && pool_) (void)pool_->adjust(pool_limits());
  }
  if (place != Place::kPoll) asio::post(io_, [this] { start_next(); });
}

bool SoapServer::Core::move(Place from, Place to) {
  if (!take(to)) {
    const std::lock_guard lock(mutex_);
    ++stats_.busy;
    return false;
  }
  release(from);
  return true;
}

// ---- accepting -----------------------------------------------------------------------------------------

void SoapServer::Core::accept() {
  acceptor_.async_accept([this](const boost::system::error_code& error, Tcp::socket socket) {
    if (stopping_) return;
    if (!error) {
      begin(std::move(socket));
      accept();
      return;
    }
    if (error == asio::error::operation_aborted) return;
    // Out of descriptors, most likely: pause instead of spinning.
    log::warning("soap.accept", {{"error", error.message()}});
    accept_pause_.expires_after(kAcceptPause);
    accept_pause_.async_wait([this](const boost::system::error_code& aborted) {
      if (!aborted) accept();
    });
  });
}

void SoapServer::Core::begin(Tcp::socket socket) {
  boost::system::error_code error;
  if (sessions_.size() >= options_.limits.connections) {
    const std::lock_guard lock(mutex_);
    ++stats_.refused;
    return;  // closed by its destructor
  }
  socket.native_non_blocking(true, error);
  if (!error) socket.set_option(Tcp::no_delay(true), error);
  if (error) return;
  UniqueSsl ssl;
  if (tls_) {
    ssl = make_session(tls_, socket.native_handle(), TlsEnd::kServer);
    if (!ssl) return;
  }
  auto session = std::make_shared<Session>(std::move(socket), std::move(ssl));
  sessions_.insert(session);
  {
    const std::lock_guard lock(mutex_);
    ++stats_.accepted;
    stats_.connections = sessions_.size();
  }
  arm(session, session->link.encrypted() ? options_.limits.header_time : options_.limits.idle);
  advance(session);
}

void SoapServer::Core::arm(const SessionPtr& session, milliseconds time) {
  session->timer.expires_after(time);
  session->timer.async_wait([this, session](const boost::system::error_code& aborted) {
    if (aborted || session->phase == Phase::kWorking || !session->socket.is_open()) return;
    if (session->timer.expiry() > std::chrono::steady_clock::now()) return;  // armed anew meanwhile
    close(session);
  });
}

void SoapServer::Core::wait(const SessionPtr& session, Io wanted) {
  const auto kind = wanted == Io::kWantWrite ? Tcp::socket::wait_write : Tcp::socket::wait_read;
  session->socket.async_wait(kind, [this, session](const boost::system::error_code& error) {
    if (error || !session->socket.is_open()) return;
    advance(session);
  });
}

void SoapServer::Core::close(const SessionPtr& session) {
  if (sessions_.erase(session) == 0) return;
  boost::system::error_code ignored;
  session->timer.cancel();
  session->socket.close(ignored);
  const std::lock_guard lock(mutex_);
  stats_.connections = sessions_.size();
}

// ---- reading and writing without waiting -----------------------------------------------------------------

void SoapServer::Core::advance(const SessionPtr& session) {
  while (session->socket.is_open() && session->phase != Phase::kWorking && step(session)) {
  }
}

/// One step of the session's phase; false where it waits for something (or is closed).
bool SoapServer::Core::step(const SessionPtr& session) {
  switch (session->phase) {
    case Phase::kHandshake: {
      const Io io = session->link.handshake();
      if (io == Io::kDone) {
        session->phase = Phase::kHead;
        if (session->link.encrypted()) arm(session, options_.limits.idle);
        return true;
      }
      io == Io::kClosed ? close(session) : wait(session, io);
      return false;
    }
    case Phase::kHead:
      return read_head(session);
    case Phase::kBody:
      return read_body(session);
    case Phase::kFlush:
      return flush(session);
    case Phase::kDrain:
      return drain(session);
    case Phase::kWorking:
      break;
  }
  return false;
}

bool SoapServer::Core::read_head(const SessionPtr& session) {
  const ServerLimits& limits = options_.limits;
  HttpParse parse;
  if (!session->in.empty()) parse = parse_http_head(session->in, limits.header_bytes, limits.headers);
  if (parse.kind == HttpParse::Kind::kBad) {
    refuse(session, parse.status, Error(ErrorCode::kInvalid, parse.reason));
    return true;
  }
  if (parse.kind == HttpParse::Kind::kDone) {
    session->head = std::move(parse.head);
    decide(session);
    return true;
  }
  const bool first = session->in.empty();
  const std::size_t before = session->in.size();
  const Io io = session->link.read_some(session->in, limits.header_bytes);
  if (session->in.size() > before) {
    if (first) arm(session, limits.header_time);  // from here on the whole header has this long
    return true;
  }
  io == Io::kClosed ? close(session) : wait(session, io);
  return false;
}

bool SoapServer::Core::read_body(const SessionPtr& session) {
  const std::size_t need =
      session->head.size + static_cast<std::size_t>(session->head.content_length.value_or(0));
  if (session->in.size() >= need) {
    enqueue(session, Place::kWorker);
    return true;
  }
  const std::size_t before = session->in.size();
  const Io io = session->link.read_some(session->in, need - before);
  if (session->in.size() > before) return true;
  io == Io::kClosed ? close(session) : wait(session, io);
  return false;
}

bool SoapServer::Core::flush(const SessionPtr& session) {
  std::string_view rest = std::string_view(session->out).substr(session->out_at);
  const std::size_t before = rest.size();
  const Io io = session->link.write_some(rest);
  session->out_at = session->out.size() - rest.size();
  if (io == Io::kDone) {
    session->out = std::string();
    session->out_at = 0;
    if (session->keep) {
      session->phase = Phase::kHead;
      arm(session, session->in.empty() ? options_.limits.idle : options_.limits.header_time);
      return true;
    }
    // What the client still sends must not turn our answer into a reset.
    ::shutdown(session->socket.native_handle(), SHUT_WR);
    session->in.clear();
    session->phase = Phase::kDrain;
    arm(session, kDrainTime);
    return true;
  }
  if (io == Io::kClosed) {
    close(session);
    return false;
  }
  if (rest.size() < before) arm(session, options_.limits.stall);
  wait(session, io);
  return false;
}

bool SoapServer::Core::drain(const SessionPtr& session) {
  const Io io = session->link.read_some(session->in, kReadPiece);
  session->drained += session->in.size();
  session->in.clear();
  if (io == Io::kDone && session->drained < kMostDrained) return true;
  if (io == Io::kClosed || io == Io::kDone) {
    close(session);
  } else {
    wait(session, io);
  }
  return false;
}

// ---- requests ------------------------------------------------------------------------------------------

void SoapServer::Core::decide(const SessionPtr& session) {
  const HttpHead& head = session->head;
  const ServerLimits& limits = options_.limits;
  {
    const std::lock_guard lock(mutex_);
    ++stats_.requests;
  }
  if (head.method == "GET") return answer_get(session);
  bool known = !session->link.peer_name().empty();
  if (head.has_bearer && services_.identity != nullptr) {
    const auto caller = services_.identity->authenticate(head.bearer);
    if (!caller) return refuse(session, 401, caller.error());
    known = true;
  }
  if (head.chunked && !known)
    return refuse(session, 401,
                  Error(ErrorCode::kRefused, "a token is needed: send \"Authorization: Bearer TOKEN\""));
  const std::uint64_t most =
      !known ? limits.anonymous_bytes : limits.body_bytes + (head.multipart ? limits.blob_bytes : 0);
  if (head.content_length.value_or(0) > most)
    return refuse(session, 413,
                  Error(ErrorCode::kExhausted,
                        "the request is too large: at most " + std::to_string(most) + " bytes are taken"));
  if (head.expects_continue) {
    std::string_view go = "HTTP/1.1 100 Continue\r\n\r\n";
    if (session->link.write_some(go) != Io::kDone) return close(session);
  }
  const bool streaming = head.chunked || head.content_length.value_or(0) > limits.anonymous_bytes;
  if (!streaming) {
    session->phase = Phase::kBody;
    arm(session, limits.body_time);
    return;
  }
  enqueue(session, Place::kTransfer);
}

void SoapServer::Core::refuse(const SessionPtr& session, int status, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    ++stats_.refused;
  }
  reply(session, fault_answer(status, error, false), false);
}

void SoapServer::Core::reply(const SessionPtr& session, std::string bytes, bool keep) {
  session->out = std::move(bytes);
  session->out_at = 0;
  session->keep = keep;
  session->phase = Phase::kFlush;
  arm(session, options_.limits.stall);
}

bool SoapServer::Core::offered(const std::string& service) const {
  if (service == "broker" || service == "store" || service == "kernels" || service == "registry" ||
      service == "dvm")
    return services_.broker != nullptr;
  if (service == "node") return services_.node != nullptr;
  return service == "host" && services_.host != nullptr;
}

std::optional<std::string> SoapServer::Core::document(const HttpHead& head, std::string& type) const {
  static const std::vector<std::string> services{"broker", "store", "kernels", "registry",
                                                 "dvm",    "node",  "host"};
  type = "text/xml; charset=utf-8";
  std::string query = head.query;
  std::transform(query.begin(), query.end(), query.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (query == "wsdl") {
    std::string base = options_.public_url;
    if (base.empty()) base = head.host.empty() ? url() : (tls_ ? "https://" : "http://") + head.host;
    for (const std::string& service : services)
      if (offered(service) && (head.path == "/" || head.path == "/" + service)) return wsdl_of(service, base);
    return {};
  }
  if (const auto found = options_.documents.find(head.path); found != options_.documents.end())
    return found->second;
  if (head.path != "/") return {};
  type = "text/plain; charset=utf-8";
  std::string text = "MVM\n";
  for (const std::string& service : services)
    if (offered(service)) text += "/" + service + "?wsdl\n";
  for (const auto& [path, content] : options_.documents) text += path + "\n";
  return text;
}

std::string SoapServer::Core::plugin_answer(const HttpHead& head) const {
  const auto bytes = options_.plugins(head.path.substr(kPlugins.size()));
  if (bytes) return document_answer(200, "application/octet-stream", *bytes, head.keep_alive);
  const bool absent = bytes.error().code() == ErrorCode::kNotFound;
  return document_answer(absent ? 404 : 403, "text/plain; charset=utf-8",
                         absent ? "nothing here\n" : "not offered\n", head.keep_alive);
}

void SoapServer::Core::answer_get(const SessionPtr& session) {
  if (options_.plugins && session->head.path.starts_with(kPlugins)) return enqueue(session, Place::kTransfer);
  std::string type;
  const auto found = document(session->head, type);
  const bool keep = session->head.keep_alive;
  session->in.erase(0, session->head.size);
  if (found) return reply(session, document_answer(200, type, *found, keep), keep);
  reply(session, document_answer(404, "text/plain; charset=utf-8", "nothing here; try /?wsdl\n", keep), keep);
}

void SoapServer::Core::enqueue(const SessionPtr& session, Place place) {
  auto& line = place == Place::kTransfer ? waiting_transfers_ : waiting_;
  if (line.size() >= options_.limits.queue) {
    {
      const std::lock_guard lock(mutex_);
      ++stats_.busy;
    }
    return refuse(session, 503, busy("too many requests already"));
  }
  session->timer.cancel();
  session->phase = Phase::kWorking;
  line.push_back(session);
  start_next();
}

void SoapServer::Core::start_next() {
  for (const Place place : {Place::kWorker, Place::kTransfer}) {
    auto& line = place == Place::kTransfer ? waiting_transfers_ : waiting_;
    while (!line.empty() && !stopping_ && take(place)) {
      const SessionPtr session = line.front();
      line.pop_front();
      work(session, place, place == Place::kTransfer);
    }
  }
}

void SoapServer::Core::work(const SessionPtr& session, Place place, bool streaming) {
  session->timer.cancel();
  session->phase = Phase::kWorking;
  const Status started =
      pool_ && !stopping_
          ? pool_->try_submit([this, session, place, streaming] { serve(session, place, streaming); })
          : Status(Error(ErrorCode::kCancelled, "the server stops"));
  if (started) return;
  release(place);
  refuse(session, 503, busy("the server is full"));
  advance(session);
}

void SoapServer::Core::serve(const SessionPtr& session, Place place, bool streaming) {
  if (session->head.method == "GET") {
    session->out = plugin_answer(session->head);
    session->out_at = 0;
    session->keep = session->head.keep_alive && !stopping_;
    session->in.erase(0, session->head.size);
    release(place);
    asio::post(io_, [this, session] { finish(session); });
    return;
  }
  struct soap* context = take_context();
  Exchange exchange(options_, services_, *this, session->link, session->head,
                    std::string_view(session->in).substr(session->head.size), streaming, place);
  exchange.run(context);
  give_context(context);
  session->out = exchange.take_answer();
  session->out_at = 0;
  session->keep = exchange.keep_alive() && !stopping_;
  session->in.erase(0, session->head.size + exchange.consumed());
  if (exchange.failed()) {
    const std::lock_guard lock(mutex_);
    ++stats_.faults;
  }
  release(exchange.place());
  asio::post(io_, [this, session] { finish(session); });
}

void SoapServer::Core::finish(const SessionPtr& session) {
  if (stopping_) return close(session);
  session->phase = Phase::kFlush;
  arm(session, options_.limits.stall);
  advance(session);
}

struct soap* SoapServer::Core::take_context() {
  {
    const std::lock_guard lock(mutex_);
    if (!contexts_.empty()) {
      struct soap* context = contexts_.back();
      contexts_.pop_back();
      return context;
    }
  }
  return make_context();
}

void SoapServer::Core::give_context(struct soap* context) {
  {
    const std::lock_guard lock(mutex_);
    if (contexts_.size() < most_[0]) {
      contexts_.push_back(context);
      return;
    }
  }
  free_context(context);
}

// ---- the public face -----------------------------------------------------------------------------------

SoapServer::SoapServer(std::unique_ptr<Core> core) : core_(std::move(core)) {}
SoapServer::~SoapServer() = default;

Result<std::unique_ptr<SoapServer>> SoapServer::start(ServerOptions options, Services services) {
  auto core = std::make_unique<Core>(std::move(options), services);
  MVM_TRY(core->start());
  return std::unique_ptr<SoapServer>(new SoapServer(std::move(core)));
}

std::uint16_t SoapServer::port() const { return core_->port(); }
std::string SoapServer::url() const { return core_->url(); }
ServerStats SoapServer::stats() const { return core_->stats(); }
void SoapServer::stop() { core_->stop(); }

}  // namespace mvm::soap
