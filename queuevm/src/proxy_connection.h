#pragma once
// One connection between two proxies: greeting, proof, then frames.

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "link_frames.h"
#include "mvm/queuevm/proxy.h"
#include "out_bytes.h"

namespace mvm::queuevm::link {

using Moment = std::chrono::steady_clock::time_point;

class Connection {
 public:
  enum class Stage { kConnecting, kHello, kProof, kReady };

  /// `expected`: the domain we dialled; empty where we accepted.
  Connection(std::unique_ptr<ByteStream> stream, std::string own_domain, std::string secret,
             std::string expected, Moment now);

  /// A dialled socket became writable, or failed.
  Status on_connected();
  struct Read {
    std::size_t bytes = 0;
    std::size_t to_sink = 0;  ///< of these, the first so many
    bool full = false;        ///< there may be more
  };
  /// Reads once, 64 KiB or what `sink` wants: what is still to come of a frame of which the first part was
  /// taken (reader().rest()), or nothing. kUnavailable at the end.
  Result<Read> read(Moment now, std::span<std::byte> sink = {});
  /// Writes what it can of out(); returns the bytes written.
  Result<std::size_t> write() { return out_.write(*stream_); }
  /// The next frame once ready. Handles the greeting by itself. kRefused, kCorrupt: close the connection.
  Result<std::optional<Frame>> next();

  [[nodiscard]] Stage stage() const { return stage_; }
  [[nodiscard]] bool dialled() const { return !expected_.empty(); }
  /// The peer's name: proved once the stage is kReady, claimed at kProof.
  [[nodiscard]] const std::string& peer() const { return peer_; }
  [[nodiscard]] FrameReader& reader() { return reader_; }
  [[nodiscard]] OutBytes& out() { return out_; }
  [[nodiscard]] std::size_t pending() const { return out_.size(); }
  [[nodiscard]] const ByteStream& stream() const { return *stream_; }
  /// As ByteStream::arm().
  [[nodiscard]] bool arm() { return stream_->arm(); }
  [[nodiscard]] Moment last_heard() const { return last_heard_; }
  [[nodiscard]] Moment started() const { return started_; }
  Moment last_ping{};

 private:
  Status greet(const Frame& frame);
  Status establish();
  void send_hello();
  std::unique_ptr<ByteStream> stream_;
  std::string own_domain_;
  std::string secret_;
  std::string expected_;
  std::string peer_;
  std::string own_hello_;
  std::string peer_hello_;
  Stage stage_;
  FrameReader reader_;
  OutBytes out_;
  Moment started_;
  Moment last_heard_;
};

}  // namespace mvm::queuevm::link
