#include "proxy_connection.h"

#include <cstring>

#include "tcp.h"

namespace mvm::queuevm::link {
namespace {

constexpr std::size_t kReadAtMost = 1 << 20;

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
  const std::size_t at = out_.size();
  append_hello(out_, hello);
  own_hello_ = out_.substr(at + kHeaderSize);
}

Status Connection::on_connected() {
  if (const int error = tcp::connect_error(stream_->fd()); error != 0) {
    return Error::from_errno(error, "connecting to " + expected_);
  }
  stage_ = Stage::kHello;
  send_hello();
  return ok();
}

Result<std::size_t> Connection::read(Moment now) {
  std::size_t total = 0;
  while (total < kReadAtMost) {
    const std::span<std::byte> room = reader_.room();
    MVM_ASSIGN(const std::size_t got, stream_->read(room));
    if (got == 0) break;
    reader_.filled(got);
    total += got;
    last_heard_ = now;
    // The reader's buffer stays small: what is here is looked at before more is read.
    if (got < room.size() || total >= (256U << 10)) break;
  }
  return total;
}

Result<std::size_t> Connection::write() {
  std::size_t total = 0;
  while (written_ < out_.size()) {
    const auto left = std::as_bytes(std::span<const char>(out_)).subspan(written_);
    MVM_ASSIGN(const std::size_t put, stream_->write(left));
    if (put == 0) break;
    written_ += put;
    total += put;
  }
  if (written_ == out_.size()) {
    out_.clear();
    written_ = 0;
  } else if (written_ > (512U << 10)) {
    out_.erase(0, written_);
    written_ = 0;
  }
  return total;
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
      append_proof(out_, proof_of(secret_, true, own_hello_, peer_hello_));
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
    if (!dialled()) append_proof(out_, proof_of(secret_, false, peer_hello_, own_hello_));
    stage_ = Stage::kReady;
    reader_.set_limit(kMaxBody);
    return ok();
  }
  return Error(ErrorCode::kRefused, "a peer does not greet as a proxy");
}

}  // namespace mvm::queuevm::link
