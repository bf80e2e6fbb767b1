#pragma once
// The frame that every control stream of MVM uses: guest channel, launcher to kernel, daemon to lab child,
// daemon to policy child. docs/formats/frame.md specifies it.
//
//   bytes 0-3   magic "MVM1"
//   bytes 4-7   length of the JSON text, little-endian, at most kMaxFrameText
//   bytes 8-11  length of the blob that follows it, at most kMaxFrameBlob
//   bytes 12-15 CRC-32 of bytes 4-11, so that a reader that lost its place on a serial line can find it again
//
// The JSON text is one object. Depth is limited to 32, so that hostile peers cannot exhaust the stack.

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm {

inline constexpr std::size_t kFrameHeader = 16;
inline constexpr std::size_t kMaxFrameText = 1 << 20;
inline constexpr std::size_t kMaxFrameBlob = 1 << 20;
inline constexpr std::size_t kMaxFrameDescriptors = 64;

/// One control message: an object, bytes that belong to it, and (UNIX sockets only) descriptors.
struct Frame {
  nlohmann::json head = nlohmann::json::object();
  std::string blob;
  std::vector<UniqueFd> descriptors;
  std::size_t text_size = 0;  ///< received: bytes of the JSON text, to account for what `head` takes
};

/// The frame's bytes, without its descriptors. MVM_ASSERTs the limits: senders cut their data themselves.
[[nodiscard]] std::string encode_frame(const nlohmann::json& head, std::string_view blob = {});
/// Likewise, of a head that is JSON text already.
[[nodiscard]] std::string encode_frame_text(std::string_view head, std::string_view blob);

/// CRC-32 of some bytes: the value of a frame's optional field "crc", for its blob, on serial lines.
[[nodiscard]] std::uint32_t frame_checksum(std::string_view bytes);

/// How many descriptors came with a frame: its field "fds", set by the sender.
[[nodiscard]] std::size_t frame_descriptors(const nlohmann::json& head);

/// Turns a stream of bytes into frames. Not thread-safe.
class FrameDecoder {
 public:
  /// `resync`: on a line without connections (virtio-serial) skip garbage up to the next valid header
  /// instead of failing; frames whose blob breaks their "crc" are skipped too.
  explicit FrameDecoder(bool resync = false) : resync_(resync) {}
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  /// The next whole frame; nothing where more bytes are needed; kCorrupt where the stream is broken.
  [[nodiscard]] Result<std::optional<Frame>> next();

 private:
  bool resync_;
  std::string buffer_;
  std::size_t start_ = 0;
};

/// Parses JSON text from outside: bounded depth, no exceptions.
[[nodiscard]] Result<nlohmann::json> parse_json(std::string_view text, int max_depth = 32);

/// Blocking: writes one frame with its descriptors (SCM_RIGHTS, UNIX sockets only). Not atomic between
/// threads: the caller serialises.
[[nodiscard]] Status send_frame(int fd, const nlohmann::json& head, std::string_view blob = {},
                                const std::vector<int>& descriptors = {});

/// Blocking reader of frames and descriptors from a UNIX socket or any stream descriptor.
class FrameReader {
 public:
  explicit FrameReader(int fd) : fd_(fd) {}
  /// kUnavailable at end of stream, kTimeout when nothing came for `timeout_ms` (-1: wait for ever).
  [[nodiscard]] Result<Frame> read(int timeout_ms = -1);

 private:
  int fd_;
  FrameDecoder decoder_;
  std::vector<UniqueFd> pending_;
};

}  // namespace mvm
