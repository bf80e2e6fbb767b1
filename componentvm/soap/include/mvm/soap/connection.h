#pragma once
// One connection: a non-blocking socket, with or without TLS, at either end. A loop reads and writes it
// without waiting; a worker waits with a deadline.

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "mvm/soap/tls.h"

namespace mvm::soap {

/// Outcome of an operation that does not wait.
enum class Io { kDone, kWantRead, kWantWrite, kClosed };

/// A stream of bytes over a socket. Not thread-safe: who has it may change, but only one thread at a time has
/// it. What the socket or TLS report as an error ends it: Io::kClosed, 0 or false, whatever the reason.
class Connection {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  /// `fd` is a non-blocking stream socket, which stays its owner's; `ssl` may be null.
  Connection(int fd, UniqueSsl ssl);

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool encrypted() const { return ssl_ != nullptr; }
  /// One step of the TLS handshake, whichever side we are; kDone at once where there is none.
  [[nodiscard]] Io handshake();
  /// The whole handshake; false where it failed or took too long.
  [[nodiscard]] bool handshake_until(Deadline deadline);
  /// Common name of the peer's verified certificate; empty without one. After the handshake, as the next.
  [[nodiscard]] std::string peer_name() const;
  /// Whether the server at the other end is the one that was meant: its certificate names this host, or,
  /// where it names none, is of our own organisational unit (a lab). False without TLS.
  [[nodiscard]] bool is_server(const std::string& host) const;

  /// Appends what is there, at most `most` bytes, to `to`.
  [[nodiscard]] Io read_some(std::string& to, std::size_t most);
  /// Writes what fits; `bytes` loses what was written.
  [[nodiscard]] Io write_some(std::string_view& bytes);

  /// Waits until something is there: bytes read, 0 at the end, at an error, or at the deadline.
  [[nodiscard]] std::size_t read(char* to, std::size_t most, Deadline deadline);
  /// Waits until all is written; false at an error or where `stall` passes without progress.
  [[nodiscard]] bool write(std::string_view bytes, std::chrono::milliseconds stall);
  /// Says that nothing more is written, and throws away what the peer still sends, until its end, `most`
  /// bytes or the deadline: bytes unread when a socket is closed reset the connection, and with it goes
  /// what the peer has not read.
  void end(std::size_t most, Deadline deadline);
  /// True where a read would answer at once, be it with the end.
  [[nodiscard]] bool readable() const;
  /// True where the peer has closed its end.
  [[nodiscard]] bool hung_up() const;

 private:
  [[nodiscard]] Io failed(int result) const;
  [[nodiscard]] bool wait(Io wanted, Deadline deadline) const;
  int fd_;
  UniqueSsl ssl_;
};

}  // namespace mvm::soap
