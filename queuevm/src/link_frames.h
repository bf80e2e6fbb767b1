#pragma once
// The frames that proxies exchange: docs/formats/link-protocol.md. Pure functions on bytes; every bound
// checked.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::queuevm::link {

enum class Type : std::uint8_t {
  kHello = 1,  ///< who I am, and my nonce
  kProof = 2,  ///< that I know the secret
  kAsk = 3,    ///< sender: where shall I begin on this link?
  kOpen = 4,   ///< receiver: begin here, with so many bytes on the way
  kData = 5,   ///< sender: a piece of a message
  kAck = 6,    ///< receiver: everything before this is in the queue
  kEnd = 7,    ///< sender: the stream ended
  kStop = 8,   ///< receiver: nobody reads any more, or the end has arrived
  kPing = 9,
  kPong = 10,
  kMessages = 11,  ///< sender: short messages that follow each other, each of them whole
};

inline constexpr std::size_t kHeaderSize = 16;
inline constexpr std::size_t kMaxPiece = 128 << 10;  ///< payload bytes of one data frame
inline constexpr std::size_t kDataHead = 40;
inline constexpr std::size_t kMaxBody = kMaxPiece + kDataHead;
inline constexpr std::size_t kMaxShort = 1024;  ///< the longest message of a frame of several
inline constexpr std::size_t kMostOfSeveral =
    8 << 10;  ///< bytes of messages in such a frame, not counting its last
inline constexpr std::size_t kMaxGreeting = 512;  ///< of a frame before the peer has proved itself
inline constexpr std::size_t kNonceSize = 32;
inline constexpr std::size_t kProofSize = 32;
inline constexpr std::size_t kMaxName = 255;

/// A frame as it lies in the reader's buffer; valid until the reader is fed or asked again.
struct Frame {
  Type type = Type::kPing;
  std::uint64_t link = 0;
  std::span<const std::byte> body;
};

/// Cuts a byte stream into frames.
class FrameReader {
 public:
  /// Bodies longer than this are refused.
  void set_limit(std::size_t limit) { limit_ = limit; }
  /// Where to put the next bytes from the stream: at least 64 KiB of room.
  [[nodiscard]] std::span<std::byte> room();
  void filled(std::size_t count) { end_ += count; }
  /// The next whole frame, nothing where bytes are missing, kCorrupt where the stream is no frames.
  [[nodiscard]] Result<std::optional<Frame>> next();
  /// After next() gave nothing: a data frame of which all but a part of its piece is here, if there is one,
  /// with what is here of its body, and how long that will be.
  struct Begun {
    Frame frame;
    std::size_t size = 0;
  };
  [[nodiscard]] std::optional<Begun> begun() const;
  /// What begun() shows was taken; the rest of its body goes elsewhere, or, where it comes to this reader, is
  /// thrown away.
  void take_begun();
  [[nodiscard]] std::size_t rest() const { return rest_; }
  [[nodiscard]] std::uint64_t rest_link() const { return rest_link_; }
  void went_elsewhere(std::size_t count) { rest_ -= count; }

 private:
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t limit_ = kMaxGreeting;
  std::size_t rest_ = 0;  // of a frame that was taken before all of it was here
  std::uint64_t rest_link_ = 0;
};

struct Hello {
  std::string domain;
  std::array<std::byte, kNonceSize> nonce{};
};
/// One place in a link's stream: the message's number, and which of its fragments.
struct Place {
  std::uint64_t number = 0;
  std::uint32_t part = 0;
  friend bool operator==(const Place&, const Place&) = default;
  friend auto operator<=>(const Place&, const Place&) = default;
};
struct Open {
  Place next;
  std::uint64_t window = 0;
};
/// Flags of a data frame.
inline constexpr std::uint32_t kMore = 1;          ///< another fragment of the message follows
inline constexpr std::uint32_t kContinuation = 2;  ///< not its first
inline constexpr std::uint32_t kAborted = 4;       ///< the fragments before are void
inline constexpr std::uint32_t kKnownFlags = 7;
struct Data {
  Place place;
  std::uint32_t flags = 0;
  std::uint8_t priority = 0;
  std::uint16_t codecs = 0;  ///< CodecChain::tag() of the chain that made the bytes
  std::uint64_t key = 0;
  std::uint32_t size = 0;    ///< of the fragment, as it is sent
  std::uint32_t offset = 0;  ///< of this piece in it
  std::uint64_t total = 0;   ///< of the message, where it is cut; before any codec
  std::span<const std::byte> piece;
};

/// Whole messages, one behind the other, without priority, key or codec.
class Messages {
 public:
  /// kCorrupt where there is not one.
  [[nodiscard]] static Result<Messages> read(std::span<const std::byte> body);
  /// The number of the first.
  [[nodiscard]] std::uint64_t first() const { return first_; }
  /// The next one. False where there is no further, or what follows is none: see complete().
  bool next(std::span<const std::byte>& message);
  /// The last one ended where the body does.
  [[nodiscard]] bool complete() const { return rest_.empty(); }

 private:
  std::uint64_t first_ = 0;
  std::span<const std::byte> rest_;
};

/// Each appends one frame.
void append_hello(std::string& out, const Hello& hello);
void append_proof(std::string& out, std::span<const std::byte> proof);
void append_simple(std::string& out, Type type, std::uint64_t link);
void append_open(std::string& out, std::uint64_t link, const Open& open);
void append_data(std::string& out, std::uint64_t link, const Data& data);
/// Of a data frame all but the piece, which is to follow.
void append_data_head(std::string& out, std::uint64_t link, const Data& data);
/// At least one, each of at most kMaxShort bytes.
void append_messages(std::string& out, std::uint64_t link, std::uint64_t first,
                     std::span<const std::span<const std::byte>> messages);
void append_ack(std::string& out, std::uint64_t link, const Place& next);
void append_end(std::string& out, Type end_or_stop, std::uint64_t link, bool dead);

/// kCorrupt where a body is not as it should be.
[[nodiscard]] Result<Hello> decode_hello(std::span<const std::byte> body);
[[nodiscard]] Result<Open> decode_open(std::span<const std::byte> body);
[[nodiscard]] Result<Data> decode_data(std::span<const std::byte> body);
/// Of a body of `size` bytes what is here, at least kDataHead of them. The piece is what is here of it.
[[nodiscard]] Result<Data> decode_begun_data(std::span<const std::byte> body, std::size_t size);
[[nodiscard]] Result<Place> decode_ack(std::span<const std::byte> body);
[[nodiscard]] Result<bool> decode_end(std::span<const std::byte> body);

/// What each side proves: HMAC-SHA256 under the secret over a role letter and both hello bodies.
[[nodiscard]] std::array<std::byte, kProofSize> proof_of(std::string_view secret, bool dialler,
                                                         std::string_view dialler_hello,
                                                         std::string_view acceptor_hello);
/// Compares in constant time.
[[nodiscard]] bool same_proof(std::span<const std::byte> a, std::span<const std::byte> b);
void fill_random(std::span<std::byte> bytes);

}  // namespace mvm::queuevm::link
