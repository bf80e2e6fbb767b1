#pragma once
// Codecs: components that change the bytes of messages between memory domains, registered and looked up by
// name [MVM 003, §2.2: the VM encoder/decoder]. The proxies apply a link's chain; docs/formats/codecs.md.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::queuevm {

/// Bytes that grow and shrink without being cleared or given back. One thread at a time.
class ByteBuffer {
 public:
  /// Room for `size` bytes, which are then the content; what was there is lost.
  std::span<std::byte> reset(std::size_t size);
  /// Keeps the first `size` bytes of the content.
  void cut(std::size_t size) { size_ = size < size_ ? size : size_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return {room_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> room_;
  std::size_t capacity_ = 0;
  std::size_t size_ = 0;
};

/// What travels beside a message's bytes. A codec may bind the bytes to it, so that they are good there
/// alone.
struct MessageHead {
  static constexpr std::size_t kSize = 40;
  std::array<std::byte, kSize> bytes{};  ///< link, place, flags, priority, key, total (link-protocol.md)
  bool fragment = false;                 ///< the bytes are a part of a message
};

/// One step of a chain. One thread at a time.
class Codec {
 public:
  virtual ~Codec() = default;
  /// Fills `out` with the encoded form of `in`. kInvalid: this codec cannot take this message.
  [[nodiscard]] virtual Status encode(std::span<const std::byte> in, const MessageHead& head,
                                      ByteBuffer& out) = 0;
  /// The reverse, of bytes from outside. kCorrupt where they are not an encoding, or of more than `most`
  /// bytes.
  [[nodiscard]] virtual Status decode(std::span<const std::byte> in, const MessageHead& head,
                                      std::size_t most, ByteBuffer& out) = 0;
  /// How many bytes encoding may add at most.
  [[nodiscard]] virtual std::size_t overhead() const = 0;
};

/// What a codec is made with.
struct CodecSetup {
  std::string_view option;  ///< what stands behind the colon: "3" of "zstd:3"; empty: none
  std::string_view key;     ///< the link's secret key, kCodecKeySize bytes; empty: none was made
};
inline constexpr std::size_t kCodecKeySize = 32;
inline constexpr std::size_t kMostCodecs = 8;  ///< of one chain

/// A key of 64 hexadecimal digits; empty of none. kInvalid, without the digits: they may be a secret.
[[nodiscard]] Result<std::string> codec_key_from(std::string_view digits);

/// Makes one codec; kInvalid where it does not know the option, or lacks a key.
using CodecFactory = std::function<Result<std::unique_ptr<Codec>>(const CodecSetup&)>;

/// The codecs that a program has, by name. Fill it before it is shared between threads.
class CodecRegistry {
 public:
  /// kExists where the name is taken, kInvalid where it is none ([a-z][a-z0-9-]*, at most 32).
  Status add(const std::string& name, const CodecFactory& factory);
  /// Makes the codec of "zstd:3". kNotFound with the names that there are.
  [[nodiscard]] Result<std::unique_ptr<Codec>> make(std::string_view spec, std::string_view key) const;
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  std::map<std::string, CodecFactory, std::less<>> factories_;
};

/// A link's codecs, applied in order to what leaves, and backwards to what arrives. One thread at a time.
class CodecChain {
 public:
  CodecChain() = default;  ///< empty: bytes pass as they are
  /// At most kMostCodecs, each once.
  [[nodiscard]] static Result<CodecChain> make(const CodecRegistry& registry,
                                               std::span<const std::string> specs, std::string_view key);

  [[nodiscard]] bool empty() const { return codecs_.empty(); }
  /// "zstd:3 encrypt"
  [[nodiscard]] const std::string& text() const { return text_; }
  /// Says in each data frame which chain its bytes went through; 0: none.
  [[nodiscard]] std::uint16_t tag() const { return tag_; }
  /// The encoded message; valid until the next call.
  [[nodiscard]] Result<std::span<const std::byte>> encode(std::span<const std::byte> in,
                                                          const MessageHead& head);
  /// The message again, of at most `most` bytes; valid until the next call.
  [[nodiscard]] Result<std::span<const std::byte>> decode(std::span<const std::byte> in,
                                                          const MessageHead& head, std::size_t most);
  /// The longest encoding of a message of `plain` bytes.
  [[nodiscard]] std::size_t longest(std::size_t plain) const { return plain + overhead_; }

 private:
  std::vector<std::unique_ptr<Codec>> codecs_;
  std::array<ByteBuffer, 2> buffers_;
  std::string text_;
  std::size_t overhead_ = 0;
  std::uint16_t tag_ = 0;
};

}  // namespace mvm::queuevm
