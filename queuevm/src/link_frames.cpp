#include "link_frames.h"

#include <algorithm>
#include <cstring>

#include "wire.h"

namespace mvm::queuevm::link {
namespace {

constexpr std::uint64_t kMagic = 0x314b'4e49'4c4d'564dULL;  // "MVMLINK1"
constexpr std::uint16_t kVersion = 2;
constexpr std::size_t kHelloHead = 8 + 2 + 2 + kNonceSize;
constexpr std::size_t kShortHead = 2;  // of a message among several: its size
constexpr std::size_t kReadAtOnce = 64 << 10;

const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

/// Appends a frame's header and room for its body; returns where the body begins. Valid until the next
/// append.
unsigned char* append(std::string& out, Type type, std::uint64_t link, std::size_t body) {
  const std::size_t at = out.size();
  out.resize(at + kHeaderSize + body);
  auto* head = reinterpret_cast<unsigned char*>(out.data()) + at;
  wire::store32(head, static_cast<std::uint32_t>(body));
  wire::store32(head + 4, static_cast<std::uint32_t>(type));
  wire::store64(head + 8, link);
  return head + kHeaderSize;
}

void store_place(unsigned char* at, const Place& place) {
  wire::store64(at, place.number);
  wire::store32(at + 8, place.part);
}
Place load_place(const unsigned char* at) { return {wire::load64(at), wire::load32(at + 8)}; }

Error bad(const char* what) { return {ErrorCode::kCorrupt, std::string("a peer sent a bad ") + what}; }

}  // namespace

std::span<std::byte> FrameReader::room() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer_.size() - end_ < kReadAtOnce) {
    if (begin_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    // Never more than a frame that is cut off at its end, and one reading.
    if (buffer_.size() - end_ < kReadAtOnce) buffer_.resize(end_ + kReadAtOnce);
  }
  return std::span(buffer_).subspan(end_);
}

Result<std::optional<Frame>> FrameReader::next() {
  if (rest_ > 0) {
    const std::size_t dropped = std::min(rest_, end_ - begin_);
    begin_ += dropped;
    rest_ -= dropped;
  }
  if (end_ - begin_ < kHeaderSize) return std::optional<Frame>();
  const auto* head = reinterpret_cast<const unsigned char*>(buffer_.data()) + begin_;
  const std::uint32_t size = wire::load32(head);
  const std::uint32_t type = wire::load32(head + 4);
  if (size > limit_) return bad("frame: too long");
  if (type < 1 || type > static_cast<std::uint32_t>(Type::kMessages)) return bad("frame: unknown type");
  if (end_ - begin_ - kHeaderSize < size) return std::optional<Frame>();
  Frame frame;
  frame.type = static_cast<Type>(type);
  frame.link = wire::load64(head + 8);
  frame.body = std::span(buffer_).subspan(begin_ + kHeaderSize, size);
  begin_ += kHeaderSize + size;
  return std::optional(frame);
}

std::optional<FrameReader::Begun> FrameReader::begun() const {
  if (rest_ > 0 || end_ - begin_ < kHeaderSize + kDataHead) return std::nullopt;
  const auto* head = reinterpret_cast<const unsigned char*>(buffer_.data()) + begin_;
  if (wire::load32(head + 4) != static_cast<std::uint32_t>(Type::kData)) return std::nullopt;
  Begun begun;
  begun.size = wire::load32(head);
  begun.frame.type = Type::kData;
  begun.frame.link = wire::load64(head + 8);
  begun.frame.body = std::span(buffer_).subspan(begin_ + kHeaderSize, end_ - begin_ - kHeaderSize);
  return begun;
}

void FrameReader::take_begun() {
  const auto* head = reinterpret_cast<const unsigned char*>(buffer_.data()) + begin_;
  rest_ = wire::load32(head) - (end_ - begin_ - kHeaderSize);
  rest_link_ = wire::load64(head + 8);
  begin_ = end_;
}

void append_hello(std::string& out, const Hello& hello) {
  unsigned char* at = append(out, Type::kHello, 0, kHelloHead + hello.domain.size());
  wire::store64(at, kMagic);
  wire::store16(at + 8, kVersion);
  wire::store16(at + 10, static_cast<std::uint16_t>(hello.domain.size()));
  std::memcpy(at + 12, hello.nonce.data(), kNonceSize);
  std::copy(hello.domain.begin(), hello.domain.end(), at + kHelloHead);
}

Result<Hello> decode_hello(std::span<const std::byte> body) {
  if (body.size() < kHelloHead || wire::load64(raw(body)) != kMagic) return bad("hello: not a proxy of MVM");
  if (wire::load16(raw(body) + 8) != kVersion) return bad("hello: another version");
  const std::size_t size = wire::load16(raw(body) + 10);
  if (size == 0 || size > kMaxName || body.size() != kHelloHead + size) return bad("hello");
  Hello hello;
  std::memcpy(hello.nonce.data(), body.data() + 12, kNonceSize);
  hello.domain.assign(reinterpret_cast<const char*>(body.data()) + kHelloHead, size);
  return hello;
}

void append_proof(std::string& out, std::span<const std::byte> proof) {
  std::memcpy(append(out, Type::kProof, 0, proof.size()), proof.data(), proof.size());
}

void append_simple(std::string& out, Type type, std::uint64_t link) { append(out, type, link, 0); }

void append_open(std::string& out, std::uint64_t link, const Open& open) {
  unsigned char* at = append(out, Type::kOpen, link, 20);
  store_place(at, open.next);
  wire::store64(at + 12, open.window);
}

Result<Open> decode_open(std::span<const std::byte> body) {
  if (body.size() != 20) return bad("open");
  return Open{load_place(raw(body)), wire::load64(raw(body) + 12)};
}

void append_data_head(std::string& out, std::uint64_t link, const Data& data) {
  unsigned char* at = append(out, Type::kData, link, kDataHead);
  wire::store32(at - kHeaderSize, static_cast<std::uint32_t>(kDataHead + data.piece.size()));
  store_place(at, data.place);
  wire::store32(at + 12, data.flags | static_cast<std::uint32_t>(data.priority) << 8 |
                             static_cast<std::uint32_t>(data.codecs) << 16);
  wire::store64(at + 16, data.key);
  wire::store32(at + 24, data.size);
  wire::store32(at + 28, data.offset);
  wire::store64(at + 32, data.total);
}

void append_data(std::string& out, std::uint64_t link, const Data& data) {
  append_data_head(out, link, data);
  if (!data.piece.empty()) out.append(reinterpret_cast<const char*>(data.piece.data()), data.piece.size());
}

Result<Data> decode_begun_data(std::span<const std::byte> body, std::size_t whole) {
  if (body.size() < kDataHead || whole < body.size()) return bad("data frame");
  Data data;
  data.place = load_place(raw(body));
  const std::uint32_t word = wire::load32(raw(body) + 12);
  data.flags = word & 0xff;
  data.priority = static_cast<std::uint8_t>(word >> 8);
  data.codecs = static_cast<std::uint16_t>(word >> 16);
  data.key = wire::load64(raw(body) + 16);
  data.size = wire::load32(raw(body) + 24);
  data.offset = wire::load32(raw(body) + 28);
  data.total = wire::load64(raw(body) + 32);
  data.piece = body.subspan(kDataHead);
  const std::size_t piece = whole - kDataHead;
  if ((data.flags & ~kKnownFlags) != 0 || data.offset > data.size || piece > data.size - data.offset ||
      (piece == 0 && data.size != 0)) {
    return bad("data frame");
  }
  return data;
}

Result<Data> decode_data(std::span<const std::byte> body) { return decode_begun_data(body, body.size()); }

void append_messages(std::string& out, std::uint64_t link, std::uint64_t first,
                     std::span<const std::span<const std::byte>> messages) {
  std::size_t size = 8;
  for (const auto& message : messages) size += kShortHead + message.size();
  unsigned char* at = append(out, Type::kMessages, link, size);
  wire::store64(at, first);
  at += 8;
  for (const auto& message : messages) {
    wire::store16(at, static_cast<std::uint16_t>(message.size()));
    at += kShortHead;
    if (!message.empty()) std::memcpy(at, message.data(), message.size());
    at += message.size();
  }
}

Result<Messages> Messages::read(std::span<const std::byte> body) {
  if (body.size() < 8 + kShortHead) return bad("frame of messages");
  Messages messages;
  messages.first_ = wire::load64(raw(body));
  messages.rest_ = body.subspan(8);
  return messages;
}

bool Messages::next(std::span<const std::byte>& message) {
  if (rest_.size() < kShortHead) return false;
  const std::size_t size = wire::load16(raw(rest_));
  if (size > kMaxShort || size > rest_.size() - kShortHead) return false;
  message = rest_.subspan(kShortHead, size);
  rest_ = rest_.subspan(kShortHead + size);
  return true;
}

void append_ack(std::string& out, std::uint64_t link, const Place& next) {
  store_place(append(out, Type::kAck, link, 12), next);
}

Result<Place> decode_ack(std::span<const std::byte> body) {
  if (body.size() != 12) return bad("acknowledgement");
  return load_place(raw(body));
}

void append_end(std::string& out, Type end_or_stop, std::uint64_t link, bool dead) {
  *append(out, end_or_stop, link, 1) = dead ? 1 : 0;
}

Result<bool> decode_end(std::span<const std::byte> body) {
  if (body.size() != 1 || static_cast<unsigned>(body[0]) > 1) return bad("end");
  return body[0] == std::byte{1};
}

}  // namespace mvm::queuevm::link
