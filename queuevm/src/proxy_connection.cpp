#include "proxy_connection.h"

#include <algorithm>
#include <cstring>

#include "tcp.h"

namespace mvm::queuevm::link {
namespace {

constexpr std::size_t kBehindSink = 2048;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Connection::Connection(std::unique_ptr<ByteStream> stream, std::string own_domain, std::string secret,
                       std::string expected, Moment now)
    : stream_(std::move(stream)),
      own_domain_(std::move(own_domain)),
      secret_(std::move(secret)),
      expected_(std::move(expected)),
      stage_(expected_.empty() ? Stage::kHello : Stage::kConnecting),
      started_(now),
      last_heard_(now) {}

void Connection::send_hello() {
  Hello hello;
  hello.domain = own_domain_;
  fill_random(hello.nonce);
  std::string& out = out_.tail();
  const std::size_t at = out.size();
  append_hello(out, hello);
  own_hello_ = out.substr(at + kHeaderSize);
}

Status Connection::on_connected() {
  if (const int error = tcp::connect_error(stream_->fd()); error != 0) {
    return Error::from_errno(error, "connecting to " + expected_);
  }
  stage_ = Stage::kHello;
  send_hello();
  return ok();
}

Result<Connection::Read> Connection::read(Moment now, std::span<std::byte> sink) {
  std::span<std::byte> room = reader_.room();
  // Behind a long message comes the next one's head, and the rest of that one has a better place again.
  if (!sink.empty()) room = room.first(kBehindSink);
  Read read;
  MVM_ASSIGN(read.bytes, stream_->read_both(sink, room));
  if (read.bytes == 0) return read;
  last_heard_ = now;
  read.to_sink = std::min(read.bytes, sink.size());
  read.full = read.bytes == sink.size() + room.size();
  reader_.went_elsewhere(read.to_sink);
  reader_.filled(read.bytes - read.to_sink);
  return read;
}

Result<std::optional<Frame>> Connection::next() {
  for (;;) {
    MVM_ASSIGN(std::optional<Frame> frame, reader_.next());
    if (!frame || stage_ == Stage::kReady) return frame;
    MVM_TRY(greet(*frame));
    if (stage_ == Stage::kReady) return std::optional<Frame>();  // the owner first takes notice of that
  }
}

// dialler: hello -> ; acceptor: -> hello; dialler: proof ->; acceptor: -> proof. Who dials proves first.
Status Connection::greet(const Frame& frame) {
  if (stage_ == Stage::kHello && frame.type == Type::kHello) {
    MVM_ASSIGN(const Hello hello, decode_hello(frame.body));
    if (hello.domain == own_domain_ || (dialled() && hello.domain != expected_)) {
      return Error(ErrorCode::kRefused, "a proxy of another domain answers as " + hello.domain);
    }
    peer_ = hello.domain;
    if (const std::string proved = stream_->peer(); !proved.empty() && proved != hello.domain)
      return Error(ErrorCode::kRefused,
                   "a proxy with the certificate of " + proved + " answers as " + hello.domain);
    peer_hello_ = text_of(frame.body);
    if (dialled()) {
      append_proof(out_.tail(), proof_of(secret_, true, own_hello_, peer_hello_));
    } else {
      send_hello();
    }
    stage_ = Stage::kProof;
    return ok();
  }
  if (stage_ == Stage::kProof && frame.type == Type::kProof) {
    const auto expected = dialled() ? proof_of(secret_, false, own_hello_, peer_hello_)
                                    : proof_of(secret_, true, peer_hello_, own_hello_);
    if (!same_proof(frame.body, expected))
      return Error(ErrorCode::kRefused, "a peer does not know the lab's secret");
    if (!dialled()) append_proof(out_.tail(), proof_of(secret_, false, peer_hello_, own_hello_));
    stage_ = Stage::kReady;
    reader_.set_limit(kMaxBody);
    return establish();
  }
  return Error(ErrorCode::kRefused, "a peer does not greet as a proxy");
}

/// The dialler's proof is made of both nonces: no other connection has it.
Status Connection::establish() {
  const auto proof = dialled() ? proof_of(secret_, true, own_hello_, peer_hello_)
                               : proof_of(secret_, true, peer_hello_, own_hello_);
  Session session{.own = own_domain_, .peer = peer_, .number = 0, .unsent = pending()};
  static_assert(kProofSize >= sizeof session.number);
  std::memcpy(&session.number, proof.data(), sizeof session.number);
  return stream_->established(session);
}

}  // namespace mvm::queuevm::link
