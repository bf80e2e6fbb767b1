#include "wire_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <system_error>
#include <thread>

#include "mvm/base/host_port.h"
#include "openssl_handles.h"

namespace mvm::soap {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMostIdle = 8;
constexpr milliseconds kIdleTime{60'000};
constexpr std::size_t kPiece = 64 << 10;
constexpr std::uint16_t kUsualPort = 7780;
constexpr ULONG64 kMostAnswer = 256 << 20;

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

bool is_ip(const std::string& host) {
  std::array<unsigned char, 16> bytes;
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || (host.starts_with("127.") && is_ip(host));
}

/// Connects to one address before the deadline.
Result<UniqueFd> connect_to(const addrinfo& address, steady_clock::time_point deadline) {
  UniqueFd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, "socket");
  const int on = 1;
  (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return fd;
  if (errno != EINPROGRESS) return Error(ErrorCode::kUnavailable, std::generic_category().message(errno));
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return Error(ErrorCode::kUnavailable, "no answer in time");
    pollfd poll{.fd = fd.get(), .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(std::min<long>(left, 60'000)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready > 0) break;
  }
  int error = 0;
  socklen_t size = sizeof error;
  (void)::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return Error(ErrorCode::kUnavailable, std::generic_category().message(error));
  return fd;
}

std::string unescape(std::string text) {
  static const std::array<std::pair<const char*, const char*>, 5> names{
      {{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&#xD;", "\r"}, {"&amp;", "&"}}};
  for (const auto& [from, to] : names)
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + 1))
      text.replace(at, std::strlen(from), to);
  return text;
}

std::string between(const std::string& text, const std::string& open, const std::string& close) {
  const auto from = text.find(open);
  if (from == std::string::npos) return {};
  const auto to = text.find(close, from);
  if (to == std::string::npos) return {};
  return unescape(text.substr(from + open.size(), to - from - open.size()));
}

/// Errors that came as an HTTP status, with our fault or without.
Error error_of_status(int status, const std::string& body) {
  const std::string code = between(body, "<t:code>", "</t:code>");
  const std::string words = between(body, "<faultstring>", "</faultstring>");
  if (!code.empty()) return Error(error_code_from(code), words);
  const std::string text =
      words.empty() ? "the server answered HTTP status " + std::to_string(status) : words;
  if (status == 401 || status == 403) return Error(ErrorCode::kRefused, text);
  if (status == 413) return Error(ErrorCode::kExhausted, text);
  if (status == 503) return Error(ErrorCode::kUnavailable, text);
  if (status == 404) return Error(ErrorCode::kNotFound, text + ": no MVM service there");
  return Error(status >= 400 && status < 500 ? ErrorCode::kInvalid : ErrorCode::kFailed, text);
}

}  // namespace

struct WireClient::Line {
  const WireClient& client;
  struct soap* context = nullptr;
  UniqueFd fd;
  std::optional<Connection> link;
  std::optional<Error> error;  ///< what broke the connection, or a reader or writer
  milliseconds silence{0};     ///< longest silence of the server
  steady_clock::time_point used;
  const PieceReader* reader = nullptr;
  const PieceWriter* writer = nullptr;
  std::string piece;  ///< read or received, not yet passed on
  std::size_t piece_at = 0;
  bool sending_attachment = false;
  bool busy = false;  ///< the server said so (HTTP status 503)

  explicit Line(const WireClient& owner);
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  [[nodiscard]] Status connect();
  void disconnect() {
    link.reset();
    if (fd) client.closing(fd.get());
    fd.reset();
  }
  int fail(Error why) {
    if (!error) error = std::move(why);
    return SOAP_EOF;
  }
  int send(const char* bytes, std::size_t size);
  void early_answer();
  std::size_t receive(char* to, std::size_t most);
  std::size_t next_piece(char* to, std::size_t most);
  int pass_on(const char* bytes, std::size_t size);
  int pass_rest();
};

namespace {

WireClient::Line& line_of(struct soap* context) { return *static_cast<WireClient::Line*>(context->user); }

SOAP_SOCKET on_open(struct soap* context, const char* /*endpoint*/, const char* /*host*/, int /*port*/) {
  WireClient::Line& line = line_of(context);
  if (Status connected = line.connect(); !connected) {
    line.fail(connected.error());
    context->error = SOAP_TCP_ERROR;
    return SOAP_INVALID_SOCKET;
  }
  context->keep_alive = 1;
  return line.fd.get();
}
int on_close(struct soap* context) {
  line_of(context).disconnect();
  context->socket = SOAP_INVALID_SOCKET;
  return SOAP_OK;
}
int on_close_socket(struct soap* context, SOAP_SOCKET /*fd*/) {
  line_of(context).disconnect();
  return SOAP_OK;
}
int on_poll(struct soap* context) {
  WireClient::Line& line = line_of(context);
  // Whatever comes unasked on a resting connection is its end.
  return line.link && !line.link->readable() ? SOAP_OK : SOAP_EOF;
}
int on_send(struct soap* context, const char* bytes, std::size_t size) {
  return line_of(context).send(bytes, size);
}
std::size_t on_receive(struct soap* context, char* to, std::size_t most) {
  return line_of(context).receive(to, most);
}
void* on_read_open(struct soap* context, void* handle, const char* /*id*/, const char* /*type*/,
                   const char* /*description*/) {
  line_of(context).sending_attachment = true;
  return handle;
}
std::size_t on_read(struct soap* context, void* /*handle*/, char* to, std::size_t most) {
  return line_of(context).next_piece(to, most);
}
void on_read_close(struct soap* /*context*/, void* /*handle*/) {}
void* on_write_open(struct soap* context, void* /*handle*/, const char* /*id*/, const char* /*type*/,
                    const char* /*description*/, enum soap_mime_encoding /*encoding*/) {
  WireClient::Line& line = line_of(context);
  return line.writer != nullptr ? &line : nullptr;
}
int on_write(struct soap* context, void* /*handle*/, const char* bytes, std::size_t size) {
  return line_of(context).pass_on(bytes, size);
}
void on_write_close(struct soap* context, void* /*handle*/) {
  if (const int failed = line_of(context).pass_rest(); failed != SOAP_OK && context->error == SOAP_OK)
    context->error = failed;
}

}  // namespace

WireClient::Line::Line(const WireClient& owner)
    : client(owner), context(soap_new1(SOAP_C_UTFSTRING | SOAP_IO_KEEPALIVE | SOAP_XML_TREE)) {
  soap_set_namespaces(context, namespaces);  // named here, or a linker leaves the table out
  context->user = this;
  context->fopen = on_open;
  context->fclose = on_close;
  context->fclosesocket = on_close_socket;
  context->fpoll = on_poll;
  context->fsend = on_send;
  context->frecv = on_receive;
  context->fmimereadopen = on_read_open;
  context->fmimeread = on_read;
  context->fmimereadclose = on_read_close;
  context->fmimewriteopen = on_write_open;
  context->fmimewrite = on_write;
  context->fmimewriteclose = on_write_close;
  context->max_keep_alive = 1'000'000;
  context->maxoccurs = 10'000'000;
}

WireClient::Line::~Line() {
  disconnect();
  context->socket = SOAP_INVALID_SOCKET;
  soap_destroy(context);
  soap_end(context);
  soap_free(context);
}

Status WireClient::Line::connect() {
  disconnect();
  const WireOptions& options = client.options_;
  const auto deadline = steady_clock::now() + options.connect_timeout;
  const auto unreachable = [&](const std::string& why) {
    return Error(ErrorCode::kUnavailable, options.url + " cannot be reached: " + why);
  };
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(client.host_.c_str(), client.port_.c_str(), &hints, &found);
      failed != 0)
    return unreachable(::gai_strerror(failed));
  const std::unique_ptr<addrinfo, FreeAddresses> list(found);
  std::string why = "no address";
  for (const addrinfo* one = list.get(); one != nullptr && !fd; one = one->ai_next) {
    auto connected = connect_to(*one, deadline);
    if (connected) {
      fd = std::move(*connected);
    } else {
      why = connected.error().message();
    }
  }
  if (!fd) return unreachable(why);
  if (!client.opened(fd.get())) {
    fd.reset();
    return unreachable("calls were stopped");
  }
  UniqueSsl ssl;
  if (client.tls_) {
    ssl = make_session(client.tls_, fd.get(), TlsEnd::kClient);
    if (!ssl) return unreachable(openssl_error());
    X509_VERIFY_PARAM* verify = SSL_get0_param(ssl.get());
    const std::string& name = options.peer.empty() ? client.host_ : options.peer;
    const bool named = is_ip(name) ? X509_VERIFY_PARAM_set1_ip_asc(verify, name.c_str()) == 1
                                   : SSL_set1_host(ssl.get(), name.c_str()) == 1 &&
                                         SSL_set_tlsext_host_name(ssl.get(), name.c_str()) == 1;
    if (!named) return unreachable(openssl_error());
  }
  SSL* handle = ssl.get();
  link.emplace(fd.get(), std::move(ssl));
  if (!link->handshake_until(deadline)) {
    const long verdict = handle != nullptr ? SSL_get_verify_result(handle) : X509_V_OK;
    const Error failed =
        verdict != X509_V_OK && !options.authority.empty()
            ? Error(ErrorCode::kRefused, options.url +
                                             " is not the broker that made this token: its authority " +
                                             "is another, or it does not prove to be the broker")
        : verdict != X509_V_OK
            ? Error(ErrorCode::kRefused, options.url + " has a certificate that is not trusted: " +
                                             X509_verify_cert_error_string(verdict))
            : unreachable("the TLS handshake failed");
    disconnect();
    return failed;
  }
  return ok();
}

int WireClient::Line::send(const char* bytes, std::size_t size) {
  if (!link) return fail(Error(ErrorCode::kUnavailable, "not connected"));
  // An answer before the end of an upload is a refusal: take it while it can be had.
  if (sending_attachment && link->readable()) {
    early_answer();
    return fail(Error(ErrorCode::kUnavailable, client.options_.url + " ended the upload"));
  }
  if (link->write({bytes, size}, client.options_.timeout)) return SOAP_OK;
  if (sending_attachment) early_answer();
  return fail(Error(ErrorCode::kUnavailable, "the connection to " + client.options_.url + " broke"));
}

void WireClient::Line::early_answer() {
  std::string text;
  std::array<char, 4096> some;
  const auto deadline = steady_clock::now() + milliseconds(2'000);
  while (text.size() < kPiece && text.find("</SOAP-ENV:Envelope>") == std::string::npos) {
    const std::size_t got = link->read(some.data(), some.size(), deadline);
    if (got == 0) break;
    text.append(some.data(), got);
  }
  int status = 0;
  if (text.starts_with("HTTP/1.1 ") && text.size() > 12)
    (void)std::from_chars(text.data() + 9, text.data() + 12, status);
  if (status >= 400) error = error_of_status(status, text);
}

std::size_t WireClient::Line::receive(char* to, std::size_t most) {
  if (!link) return 0;
  const auto deadline = steady_clock::now() + silence;
  const std::size_t got = link->read(to, most, deadline);
  if (got == 0) {
    if (steady_clock::now() >= deadline)
      fail(Error(ErrorCode::kTimeout,
                 client.options_.url + " was silent for " + std::to_string(silence.count() / 1000) + " s"));
    else
      fail(Error(ErrorCode::kUnavailable, client.options_.url + " closed the connection"));
  }
  return got;
}

std::size_t WireClient::Line::next_piece(char* to, std::size_t most) {
  if (piece_at == piece.size() && reader != nullptr && !error) {
    auto next = (*reader)();
    piece_at = 0;
    piece.clear();
    if (next) {
      piece = std::move(*next);
    } else {
      fail(next.error());
    }
  }
  const std::size_t size = std::min(most, piece.size() - piece_at);
  std::memcpy(to, piece.data() + piece_at, size);
  piece_at += size;
  return size;
}

int WireClient::Line::pass_on(const char* bytes, std::size_t size) {
  piece.append(bytes, size);
  return piece.size() < kPiece ? SOAP_OK : pass_rest();
}

int WireClient::Line::pass_rest() {
  if (piece.empty() || writer == nullptr || error) return SOAP_OK;
  const Status taken = (*writer)(piece);
  piece.clear();
  return taken ? SOAP_OK : fail(taken.error());
}

// ---- the client ----------------------------------------------------------------------------------------

namespace {

struct Address {
  bool tls = false;
  HostPort place;
};

Result<Address> parse_url(const std::string& url) {
  const Error bad(ErrorCode::kInvalid,
                  "\"" + url + "\" is no address: http://HOST:PORT or https://HOST:PORT");
  Address address;
  std::string_view rest = url;
  if (rest.starts_with("https://")) {
    address.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return bad;
  }
  const auto place = read_host_port(rest.substr(0, rest.find_first_of("/?#")), kUsualPort);
  const bool good = place && place->host.size() < 256 && place->port != 0 &&
                    std::all_of(place->host.begin(), place->host.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '.' || c == '-' || c == ':' || c == '_';
                    });
  if (!good) return bad;
  address.place = *place;
  return address;
}

/// Trusts the one authority that has the fingerprint, and which the server shows in its chain.
int verify_by_fingerprint(X509_STORE_CTX* store, void* fingerprint) {
  const auto& wanted = *static_cast<const std::string*>(fingerprint);
  STACK_OF(X509)* shown = X509_STORE_CTX_get0_untrusted(store);
  for (int i = 0; i < sk_X509_num(shown); ++i) {
    X509* one = sk_X509_value(shown, i);
    std::array<unsigned char, 32> digest{};
    unsigned size = 0;
    if (X509_digest(one, EVP_sha256(), digest.data(), &size) != 1 || to_hex(digest) != wanted) continue;
    STACK_OF(X509)* trusted = sk_X509_new_null();
    sk_X509_push(trusted, one);
    X509_STORE_CTX_set0_trusted_stack(store, trusted);
    const int verdict = X509_verify_cert(store);
    sk_X509_free(trusted);
    return verdict;
  }
  X509_STORE_CTX_set_error(store, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
  return 0;
}

Result<UniqueSslContext> make_client_context(const WireOptions& options) {
  UniqueSslContext context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* c = context.get();
  const auto failed = [](const std::string& what) {
    return Error(ErrorCode::kInvalid, what + ": " + openssl_error());
  };
  if (c == nullptr || SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1) return failed("set up TLS");
  if (options.ca.empty() && options.authority.empty())
    return Error(ErrorCode::kInvalid, "https needs the certificate of the authority");
  if (!options.ca.empty() && SSL_CTX_load_verify_file(c, options.ca.c_str()) != 1)
    return failed("read authority " + options.ca.string());
  if (!options.authority.empty())
    SSL_CTX_set_cert_verify_callback(c, &verify_by_fingerprint, const_cast<std::string*>(&options.authority));
  if (!options.certificate.empty() &&
      (SSL_CTX_use_certificate_chain_file(c, options.certificate.c_str()) != 1 ||
       SSL_CTX_use_PrivateKey_file(c, options.key.c_str(), SSL_FILETYPE_PEM) != 1))
    return failed("read certificate " + options.certificate.string());
  SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

Error error_of(struct soap* context, const std::string& url) {
  if (context->fault != nullptr && context->fault->detail != nullptr &&
      context->fault->detail->t__Fault != nullptr) {
    const _t__Fault& fault = *context->fault->detail->t__Fault;
    Error error(error_code_from(fault.code), fault.message);
    if (!fault.diagnostic.empty())
      error.at({fault.diagnostic[0].file, fault.diagnostic[0].line, fault.diagnostic[0].column});
    return error;
  }
  soap_set_fault(context);
  const char** words = soap_faultstring(context);
  const char** detail = soap_faultdetail(context);
  if (context->error >= 400 && context->error < 600)
    return error_of_status(context->error, detail != nullptr && *detail != nullptr ? *detail : "");
  if (context->status >= 400 && context->status < 600)
    return error_of_status(context->status, detail != nullptr && *detail != nullptr ? *detail : "");
  return Error(ErrorCode::kFailed,
               url + ": " + (words != nullptr && *words != nullptr ? *words : "unknown fault"));
}

}  // namespace

Result<std::unique_ptr<WireClient>> WireClient::create(WireOptions options) {
  MVM_ASSIGN(const Address address, parse_url(options.url));
  if (!address.tls && !options.plain_in_lab && !is_loopback(address.place.host))
    return Error(ErrorCode::kRefused,
                 "plain HTTP to " + address.place.host + " would show the token to the network: use https");
  std::unique_ptr<WireClient> client(new WireClient(std::move(options)));
  if (address.tls) {
    MVM_ASSIGN(client->tls_, make_client_context(client->options_));
  }
  client->host_ = address.place.host;
  client->port_ = std::to_string(address.place.port);
  client->base_ = "http://" + address.place.text();
  (void)std::signal(SIGPIPE, SIG_IGN);
  return client;
}

WireClient::WireClient(WireOptions options) : options_(std::move(options)) {}
WireClient::~WireClient() = default;

void WireClient::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
}

bool WireClient::opened(int fd) const {
  const std::lock_guard lock(mutex_);
  if (!stopped_) open_.insert(fd);
  return !stopped_;
}

void WireClient::closing(int fd) const {
  const std::lock_guard lock(mutex_);
  open_.erase(fd);
}

std::unique_ptr<WireClient::Line> WireClient::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto line = std::move(free_.back());
      free_.pop_back();
      return line;
    }
  }
  return std::make_unique<Line>(*this);
}

void WireClient::give(std::unique_ptr<Line> line) {
  line->used = steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (free_.size() < kMostIdle) free_.push_back(std::move(line));
}

Status WireClient::run(Line& line, const char* path,
                       const std::function<int(struct soap*, const char*)>& call) const {
  struct soap* context = line.context;
  line.error.reset();
  line.piece.clear();
  line.piece_at = 0;
  line.sending_attachment = false;
  line.busy = false;
  if (line.link && steady_clock::now() - line.used > kIdleTime) {
    line.disconnect();
    context->socket = SOAP_INVALID_SOCKET;
  }
  context->imode = SOAP_C_UTFSTRING | SOAP_IO_KEEPALIVE | SOAP_XML_TREE;
  context->omode = context->imode;
  if (line.reader != nullptr)  // attachments are not sent from trees
    context->omode = SOAP_C_UTFSTRING | SOAP_IO_KEEPALIVE | SOAP_IO_CHUNK | SOAP_ENC_MTOM;
  context->recv_maxlength = line.writer != nullptr ? 0 : kMostAnswer;
  context->bearer = options_.token.empty() ? nullptr : options_.token.c_str();
  const std::string endpoint = base_ + path;
  const int result = call(context, endpoint.c_str());
  Status status = ok();
  if (line.error) {
    status = *line.error;
  } else if (result != SOAP_OK) {
    line.busy = context->error == 503 || context->status == 503;
    status = error_of(context, options_.url);
  }
  if (!status) {
    line.disconnect();
    context->socket = SOAP_INVALID_SOCKET;
  }
  soap_destroy(context);
  soap_end(context);
  return status;
}

Status WireClient::call(const char* path, milliseconds wait,
                        const std::function<int(struct soap*, const char*)>& call) {
  const auto deadline = steady_clock::now() + options_.busy_retry;
  milliseconds pause{20};
  for (;;) {
    auto line = take();
    line->silence = options_.timeout + wait;
    line->reader = nullptr;
    line->writer = nullptr;
    Status status = run(*line, path, call);
    const bool busy = line->busy;
    give(std::move(line));
    if (status || !busy || steady_clock::now() + pause > deadline) return status;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, milliseconds(500));
  }
}

Status WireClient::transfer(const char* path, const PieceReader* reader, const PieceWriter* writer,
                            const std::function<int(struct soap*, const char*)>& call) {
  auto line = take();
  line->silence = options_.timeout;
  line->reader = reader;
  line->writer = writer;
  Status status = run(*line, path, call);
  give(std::move(line));
  return status;
}

}  // namespace mvm::soap
