#pragma once
// Frames over a descriptor that must not block: an event loop's view of frame.h.

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/frame.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm {

/// A descriptor (UNIX socket, pipe-like device) that gives and takes frames without ever blocking. Owned by
/// one thread. What waits to be written is not bounded here: look at queued() before sending.
class FrameStream {
 public:
  struct Options {
    bool serial = false;             ///< a line without connections: resynchronise, checksum blobs
    bool takes_descriptors = false;  ///< else descriptors that the peer sends are closed by the kernel
  };
  /// Makes the descriptor non-blocking.
  FrameStream(UniqueFd fd, Options options);

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// What to poll for.
  [[nodiscard]] short events() const;
  /// Queues a frame and writes what goes at once. MVM_ASSERTs the limits of a frame. The descriptors are kept
  /// until they are sent. An error: the stream is broken.
  [[nodiscard]] Status send(nlohmann::json head, std::string_view blob = {},
                            std::vector<UniqueFd> descriptors = {});
  /// Queues bytes that are no frame (padding on a serial line).
  [[nodiscard]] Status send_raw(std::string bytes);
  /// Writes what goes without blocking.
  [[nodiscard]] Status flush();
  /// Bytes that wait to be written.
  [[nodiscard]] std::size_t queued() const { return queued_; }
  /// Reads once, at most 64 KiB. kUnavailable at end of stream. Take all frames with next() before the next
  /// call.
  [[nodiscard]] Status receive();
  /// The next whole frame; nothing where more bytes are needed; kCorrupt where the stream is broken.
  [[nodiscard]] Result<std::optional<Frame>> next();

 private:
  struct Outgoing {
    std::string bytes;
    std::size_t done = 0;
    std::vector<UniqueFd> descriptors;
  };
  [[nodiscard]] Result<std::size_t> write_some(Outgoing& item);

  UniqueFd fd_;
  Options options_;
  FrameDecoder decoder_;
  std::deque<Outgoing> out_;
  std::size_t queued_ = 0;
  std::vector<UniqueFd> pending_;  // received, their frame not yet whole
  std::string piece_;
};

}  // namespace mvm
