#include "links.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "mvm/base/host_port.h"
#include "mvm/base/log.h"

namespace mvm::replica {
namespace {

constexpr std::size_t kPiece = 64 << 10;
constexpr unsigned kStrangers = 3;  // one could be a fault of the line
constexpr std::size_t kInFlight = 512
                                  << 10;  ///< bytes handed to libuv per link before it says they are written

std::string address_of(const sockaddr_storage& storage) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    uv_ip6_name(in6, text.data(), text.size());
    return HostPort{text.data(), ntohs(in6->sin6_port)}.text();
  }
  const auto* in4 = reinterpret_cast<const sockaddr_in*>(&storage);
  uv_ip4_name(in4, text.data(), text.size());
  return HostPort{text.data(), ntohs(in4->sin_port)}.text();
}

}  // namespace

Result<sockaddr_storage> parse_address(const std::string& address) {
  const Error broken(
      ErrorCode::kInvalid,
      "address '" + address + "': expected HOST:PORT with a host of numbers, such as 127.0.0.1:7000");
  const auto place = read_host_port(address);
  if (!place || address.size() > wire::kMaxAddress) return broken;
  const std::string host = place->host == "localhost" ? "127.0.0.1" : place->host;
  const int port = place->port;
  sockaddr_storage storage{};
  if (uv_ip4_addr(host.c_str(), port, reinterpret_cast<sockaddr_in*>(&storage)) == 0) return storage;
  if (uv_ip6_addr(host.c_str(), port, reinterpret_cast<sockaddr_in6*>(&storage)) == 0) return storage;
  return broken;
}

struct Links::Link {
  struct Waiting {
    std::string frame;
    std::size_t offset = 0;
    std::function<void(bool)> sent;
  };
  struct Write {
    uv_write_t request{};
    Link* link = nullptr;
    std::string bytes;
    std::vector<std::function<void(bool)>> sent;
  };

  Links* owner = nullptr;
  bool outgoing = false;
  std::uint64_t id = 0;      ///< of the other end, once known
  std::uint64_t wanted = 0;  ///< outgoing: whom we call
  bool secure = false;
  bool welcome = false;  ///< both have said who they are
  bool ended = false;
  std::uint64_t deadline = 0;
  std::uint64_t last_sent = 0;
  uv_tcp_t tcp{};
  uv_connect_t connecting{};
  Ssl ssl;
  BIO* from_net = nullptr;  // owned by ssl
  BIO* to_net = nullptr;    // owned by ssl
  std::array<char, kPiece> buffer{};
  std::string in;
  std::deque<Waiting> waiting;
  std::size_t waiting_bytes = 0;
  std::size_t in_flight = 0;
};

Status Links::start() {
  MVM_TRY(prepare_tls());
  return listen();
}

Links::Links(uv_loop_t* loop, Settings settings, Owner& owner)
    : loop_(loop), settings_(std::move(settings)), owner_(owner) {}

Links::~Links() = default;

Status Links::prepare_tls() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  const std::string text = "mvm replica 1 " + settings_.group;
  HMAC(EVP_sha256(), settings_.secret.data(), static_cast<int>(settings_.secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &length);
  key_.assign(reinterpret_cast<const char*>(digest.data()), length);
  for (SslContext* context : {&server_context_, &client_context_}) {
    const bool serves = context == &server_context_;
    context->reset(SSL_CTX_new(serves ? TLS_server_method() : TLS_client_method()));
    SSL_CTX* raw = context->get();
    if (raw == nullptr || SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(raw, "TLS_AES_128_GCM_SHA256") != 1) {
      return Error(ErrorCode::kUnsupported, "OpenSSL offers no TLS 1.3 with AES-128-GCM");
    }
    SSL_CTX_set_app_data(raw, this);
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(raw, 0);
    SSL_CTX_set_mode(raw, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (serves) {
      SSL_CTX_set_psk_find_session_callback(raw, find_session);
    } else {
      // No certificate is trusted: a server that does not know the key has nothing else to show.
      SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
      SSL_CTX_set_psk_use_session_callback(raw, use_session);
    }
  }
  return ok();
}

SSL_SESSION* Links::make_session(SSL* ssl) const {
  static constexpr std::array<unsigned char, 2> kAes128Gcm{0x13, 0x01};
  SslSession session(SSL_SESSION_new());
  const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl, kAes128Gcm.data());
  if (!session || cipher == nullptr ||
      SSL_SESSION_set1_master_key(session.get(), reinterpret_cast<const unsigned char*>(key_.data()),
                                  key_.size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), cipher) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1) {
    return nullptr;
  }
  return session.release();
}

int Links::find_session(SSL* ssl, const unsigned char* identity, std::size_t length, SSL_SESSION** session) {
  const auto* links = static_cast<const Links*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  *session = nullptr;
  // An unknown identity goes on without a session, and fails for want of a certificate.
  if (std::string_view(reinterpret_cast<const char*>(identity), length) != links->settings_.group) return 1;
  *session = links->make_session(ssl);
  return *session != nullptr ? 1 : 0;
}

int Links::use_session(SSL* ssl, const EVP_MD* digest, const unsigned char** identity, std::size_t* length,
                       SSL_SESSION** session) {
  const auto* links = static_cast<const Links*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  *session = nullptr;
  if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256) return 1;
  *identity = reinterpret_cast<const unsigned char*>(links->settings_.group.data());
  *length = links->settings_.group.size();
  *session = links->make_session(ssl);
  return *session != nullptr ? 1 : 0;
}

Status Links::listen() {
  MVM_ASSIGN(const sockaddr_storage address, parse_address(settings_.address));
  uv_tcp_init(loop_, &listener_);
  listener_.data = this;
  uv_timer_init(loop_, &timer_);
  timer_.data = this;
  open_handles_ = 2;
  int status = uv_tcp_bind(&listener_, reinterpret_cast<const sockaddr*>(&address), 0);
  if (status == 0) {
    status = uv_listen(reinterpret_cast<uv_stream_t*>(&listener_), 64, [](uv_stream_t* listener, int error) {
      if (error == 0) static_cast<Links*>(listener->data)->accept();
    });
  }
  sockaddr_storage bound{};
  int length = sizeof(bound);
  if (status == 0) status = uv_tcp_getsockname(&listener_, reinterpret_cast<sockaddr*>(&bound), &length);
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<Links*>(timer->data)->tick(); }, 10, 20);
  if (status != 0) return uv_error(status, "listen at " + settings_.address);
  settings_.address = address_of(bound);
  return ok();
}

Links::Link* Links::make_link(bool outgoing) {
  auto made = std::make_unique<Link>();
  Link* link = made.get();
  link->owner = this;
  link->outgoing = outgoing;
  link->deadline = now() + 4000;
  uv_tcp_init(loop_, &link->tcp);
  link->tcp.data = link;
  ++open_handles_;
  link->ssl.reset(SSL_new(outgoing ? client_context_.get() : server_context_.get()));
  link->from_net = BIO_new(BIO_s_mem());
  link->to_net = BIO_new(BIO_s_mem());
  SSL_set_bio(link->ssl.get(), link->from_net, link->to_net);
  if (outgoing) {
    SSL_set_connect_state(link->ssl.get());
  } else {
    SSL_set_accept_state(link->ssl.get());
  }
  links_.push_back(std::move(made));
  return link;
}

void Links::accept() {
  Link* link = make_link(false);
  const int status =
      uv_accept(reinterpret_cast<uv_stream_t*>(&listener_), reinterpret_cast<uv_stream_t*>(&link->tcp));
  const auto callers = static_cast<std::size_t>(
      std::count_if(links_.begin(), links_.end(), [](const auto& one) { return !one->outgoing; }));
  if (status != 0 || closing_ || callers > settings_.callers) return end(*link);
  connected(*link, 0);
}

void Links::want(std::uint64_t id, const std::string& address) {
  Peer& peer = peers_[id];
  if (peer.address == address) return;
  peer.address = address;
  peer.failures = 0;
  peer.strangers = 0;
  peer.next_try = 0;
  if (peer.link != nullptr) end(*peer.link);
  if (!closing_) call(id, peers_[id]);
}

void Links::forget(std::uint64_t id) {
  const auto at = peers_.find(id);
  if (at == peers_.end()) return;
  Link* link = at->second.link;
  peers_.erase(at);
  if (link != nullptr) end(*link);
}

void Links::cut(std::uint64_t id) {
  for (const auto& link : links_) {
    if (!link->outgoing && link->id == id && !link->ended) end(*link);
  }
}

void Links::call(std::uint64_t id, Peer& peer) {
  const auto address = parse_address(peer.address);
  if (!address || peer.link != nullptr) return;
  Link* link = make_link(true);
  link->wanted = id;
  link->id = id;
  // A packet lost on the way is not worth the kernel's growing patience: try again by the beat.
  link->deadline =
      now() + static_cast<std::uint64_t>(std::max<std::int64_t>(settings_.beat.count() * 2, 1000));
  peer.link = link;
  peer.next_try =
      now() + static_cast<std::uint64_t>(settings_.beat.count()) / 4 * std::min(1U + peer.failures, 4U);
  link->connecting.data = link;
  const int status =
      uv_tcp_connect(&link->connecting, &link->tcp, reinterpret_cast<const sockaddr*>(&*address),
                     [](uv_connect_t* request, int error) {
                       auto* one = static_cast<Link*>(request->data);
                       one->owner->connected(*one, error);
                     });
  if (status != 0) end(*link);
}

void Links::connected(Link& link, int status) {
  if (link.ended) return;
  if (status != 0) return end(link);
  uv_tcp_nodelay(&link.tcp, 1);
  uv_os_fd_t fd = -1;
  if (uv_fileno(reinterpret_cast<uv_handle_t*>(&link.tcp), &fd) == 0) {
    const auto limit = static_cast<unsigned>(std::max<std::int64_t>(settings_.beat.count() * 4, 1000));
    ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
  }
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&link.tcp),
      [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
        auto* one = static_cast<Link*>(handle->data);
        *buffer = uv_buf_init(one->buffer.data(), static_cast<unsigned>(one->buffer.size()));
      },
      [](uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
        auto* one = static_cast<Link*>(stream->data);
        if (one->ended || count == 0) return;
        if (count < 0) return one->owner->end(*one);
        one->owner->bytes_in(*one, std::string_view(buffer->base, static_cast<std::size_t>(count)));
      });
  shake_hands(link);
}

bool Links::shake_hands(Link& link) {
  if (link.secure) return true;
  ERR_clear_error();
  const int done = SSL_do_handshake(link.ssl.get());
  const int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(link.ssl.get(), done);
  drain(link, 0);
  if (done != 1 && why == SSL_ERROR_WANT_READ) return false;
  // Reused: the session is the one the key makes; nothing else may be agreed on.
  if (done != 1 || SSL_session_reused(link.ssl.get()) != 1) {
    if (!link.ended)
      log::warning("replica.link_refused", {{"group", settings_.group}, {"outgoing", link.outgoing}});
    met_stranger(link);
    end(link);
    return false;
  }
  link.secure = true;
  if (link.outgoing) put(link, wire::encode(owner_.greeting(link.wanted)), {});
  return !link.ended;
}

void Links::met_stranger(const Link& link) {
  if (!link.outgoing || link.ended) return;
  if (const auto at = peers_.find(link.wanted); at != peers_.end()) ++at->second.strangers;
}

void Links::bytes_in(Link& link, std::string_view bytes) {
  BIO_write(link.from_net, bytes.data(), static_cast<int>(bytes.size()));
  if (!shake_hands(link)) return;
  std::array<char, 16384> plain{};
  while (!link.ended) {
    ERR_clear_error();
    std::size_t got = 0;
    if (SSL_read_ex(link.ssl.get(), plain.data(), plain.size(), &got) != 1) {
      const int why = SSL_get_error(link.ssl.get(), 0);
      if (why != SSL_ERROR_WANT_READ) return end(link);
      break;
    }
    link.in.append(plain.data(), got);
    frames_in(link);
  }
  if (!link.ended) drain(link, 0);
}

void Links::frames_in(Link& link) {
  std::size_t start = 0;
  while (!link.ended && link.in.size() - start >= wire::kHeader) {
    const std::string_view rest = std::string_view(link.in).substr(start);
    const auto header = wire::decode_header(rest, settings_.bounds);
    // Before anybody has said who they are only those two kinds may come.
    if (!header || (!link.welcome && header->kind != (link.outgoing ? 2 : 1))) return end(link);
    if (rest.size() < wire::kHeader + header->length) break;
    if (!frame_in(link, header->kind, rest.substr(wire::kHeader, header->length))) return;
    start += wire::kHeader + header->length;
  }
  if (!link.ended) link.in.erase(0, start);
}

bool Links::frame_in(Link& link, std::uint8_t kind, std::string_view body) {
  auto message = wire::decode(kind, body, settings_.bounds);
  if (!message) {
    log::warning("replica.frame_refused", {{"from", link.id}, {"why", message.error().message()}});
    end(link);
    return false;
  }
  if (!link.outgoing && !link.welcome) {
    const auto& hello = std::get<wire::Hello>(*message);
    const wire::Verdict verdict =
        hello.group != settings_.group ? wire::Verdict::kOtherGroup : owner_.greeted(hello);
    const auto self = owner_.greeting(0).state.id;
    if (link.ended) return false;
    put(link, wire::encode(wire::Welcome{verdict, self}), {});
    if (verdict != wire::Verdict::kWelcome) {
      link.deadline = now() + 500;  // so that the word arrives; then it is closed
      uv_read_stop(reinterpret_cast<uv_stream_t*>(&link.tcp));
      return false;
    }
    // A member calls once: its newer call replaces an older one that died without a word.
    for (const auto& other : links_) {
      if (other.get() != &link && !other->outgoing && other->id == hello.state.id && !other->ended)
        end(*other);
    }
    link.id = hello.state.id;
    link.welcome = true;
    link.deadline = 0;
    heard_[link.id] = now();
    wire::State state = hello.state;
    owner_.received(link.id, std::move(state));
    return !link.ended;
  }
  if (link.outgoing) {
    const auto* welcome = std::get_if<wire::Welcome>(&*message);
    if (welcome == nullptr || link.welcome) {
      end(link);
      return false;
    }
    const bool other = link.wanted != 0 && welcome->id != link.wanted;
    if (welcome->verdict != wire::Verdict::kWelcome || other) {
      const std::uint64_t id = link.wanted;
      const wire::Verdict verdict = other ? wire::Verdict::kOtherMember : welcome->verdict;
      if (const auto at = peers_.find(id); at != peers_.end()) at->second.failures += 4;
      if (other) met_stranger(link);
      end(link);
      owner_.refused(id, verdict);
      return false;
    }
    link.welcome = true;
    link.deadline = 0;
    if (const auto at = peers_.find(link.wanted); at != peers_.end())
      at->second.failures = at->second.strangers = 0;
    owner_.up(link.wanted);
    return !link.ended;
  }
  heard_[link.id] = now();
  if (std::holds_alternative<wire::Hello>(*message) || std::holds_alternative<wire::Welcome>(*message)) {
    end(link);
    return false;
  }
  owner_.received(link.id, std::move(*message));
  return !link.ended;
}

bool Links::send(std::uint64_t id, std::string frame, std::function<void(bool)> sent) {
  const auto at = peers_.find(id);
  if (at == peers_.end() || at->second.link == nullptr) return false;
  Link& link = *at->second.link;
  if (!link.welcome || link.ended || link.waiting_bytes + frame.size() > settings_.queue) return false;
  put(link, std::move(frame), std::move(sent));
  return true;
}

bool Links::is_displaced(std::uint64_t id) const {
  const auto at = peers_.find(id);
  return at != peers_.end() && at->second.strangers >= kStrangers;
}

void Links::put(Link& link, std::string frame, std::function<void(bool)> sent) {
  link.waiting_bytes += frame.size();
  link.last_sent = now();
  link.waiting.push_back(Link::Waiting{std::move(frame), 0, std::move(sent)});
  pump(link);
}

void Links::pump(Link& link) {
  while (!link.ended && !link.waiting.empty() && link.in_flight < kInFlight) {
    Link::Waiting& first = link.waiting.front();
    const std::size_t size = std::min(kPiece, first.frame.size() - first.offset);
    std::size_t written = 0;
    ERR_clear_error();
    if (SSL_write_ex(link.ssl.get(), first.frame.data() + first.offset, size, &written) != 1)
      return end(link);
    first.offset += written;
    drain(link, written);
  }
}

void Links::drain(Link& link, std::size_t plain) {
  const std::size_t pending = BIO_ctrl_pending(link.to_net);
  if (pending == 0 || link.ended) return;
  auto* write = new Link::Write;  // NOLINT: owned by libuv until the callback
  write->link = &link;
  write->bytes.resize(pending);
  BIO_read(link.to_net, write->bytes.data(), static_cast<int>(pending));
  while (plain > 0 && !link.waiting.empty() &&
         link.waiting.front().offset == link.waiting.front().frame.size()) {
    link.waiting_bytes -= link.waiting.front().frame.size();
    if (link.waiting.front().sent) write->sent.push_back(std::move(link.waiting.front().sent));
    link.waiting.pop_front();
  }
  link.in_flight += pending;
  write->request.data = write;
  uv_buf_t buffer = uv_buf_init(write->bytes.data(), static_cast<unsigned>(pending));
  const int status =
      uv_write(&write->request, reinterpret_cast<uv_stream_t*>(&link.tcp), &buffer, 1,
               [](uv_write_t* request, int error) {
                 const std::unique_ptr<Link::Write> done(static_cast<Link::Write*>(request->data));
                 Link& one = *done->link;
                 one.in_flight -= done->bytes.size();
                 for (auto& sent : done->sent) sent(error == 0);
                 if (one.ended) return;
                 if (error != 0) return one.owner->end(one);
                 one.owner->pump(one);
               });
  if (status != 0) {
    std::vector<std::function<void(bool)>> sent = std::move(write->sent);
    link.in_flight -= pending;
    delete write;  // NOLINT
    // Never from within send(): libraft frees what its callback names only after its own call has returned.
    for (auto& one : sent) link.waiting.push_back(Link::Waiting{{}, 0, std::move(one)});
    end(link);
  }
}

bool Links::is_up(std::uint64_t id) const {
  const auto at = peers_.find(id);
  return at != peers_.end() && at->second.link != nullptr && at->second.link->welcome &&
         !at->second.link->ended;
}

std::uint64_t Links::heard(std::uint64_t id) const {
  const auto at = heard_.find(id);
  return at == heard_.end() ? 0 : at->second;
}

void Links::end(Link& link) {
  if (link.ended) return;
  link.ended = true;
  const bool was_up = link.outgoing && link.welcome;
  const std::uint64_t id = link.wanted;
  if (link.outgoing) {
    const auto at = peers_.find(id);
    if (at != peers_.end() && at->second.link == &link) {
      at->second.link = nullptr;
      ++at->second.failures;
    }
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&link.tcp), [](uv_handle_t* handle) {
    auto* one = static_cast<Link*>(handle->data);
    Links* links = one->owner;
    for (auto& waiting : one->waiting) {
      if (waiting.sent) waiting.sent(false);
    }
    links->links_.remove_if([&](const auto& other) { return other.get() == one; });
    links->closed_one();
  });
  if (was_up && !closing_) owner_.down(id);
}

void Links::tick() {
  std::vector<Link*> late;
  const auto silence = static_cast<std::uint64_t>(std::max<std::int64_t>(settings_.beat.count() * 8, 2000));
  for (const auto& link : links_) {
    if (link->ended) continue;
    const bool mute = !link->outgoing && link->welcome && now() - heard(link->id) > silence;
    if ((link->deadline != 0 && now() > link->deadline) || mute) late.push_back(link.get());
  }
  for (Link* link : late) end(*link);
  for (auto& [id, peer] : peers_) {
    if (peer.link == nullptr && now() >= peer.next_try && !closing_) call(id, peer);
  }
}

void Links::close(std::function<void()> closed) {
  closed_ = std::move(closed);
  closing_ = true;
  if (open_handles_ == 0) return std::exchange(closed_, {})();
  const auto shut = [](uv_handle_t* handle) { static_cast<Links*>(handle->data)->closed_one(); };
  uv_close(reinterpret_cast<uv_handle_t*>(&listener_), shut);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), shut);
  std::vector<Link*> all;
  for (const auto& link : links_) all.push_back(link.get());
  for (Link* link : all) end(*link);
}

void Links::closed_one() {
  if (--open_handles_ == 0 && closing_ && closed_) std::exchange(closed_, {})();
}

}  // namespace mvm::replica
