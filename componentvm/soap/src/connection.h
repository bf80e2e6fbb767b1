#pragma once
// One client's connection: a non-blocking socket, with or without TLS. The loop reads and writes it without
// waiting; a worker that streams a transfer waits with a deadline. Only one of the two has it at a time.

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "mvm/base/unique_fd.h"
#include "openssl_handles.h"

namespace mvm::soap {

/// Outcome of an operation that does not wait.
enum class Io { kDone, kWantRead, kWantWrite, kClosed };

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
  /// Common name of the peer's verified certificate; empty without one.
  [[nodiscard]] std::string peer_name() const;

  /// Appends what is there, at most `most` bytes, to `to`.
  [[nodiscard]] Io read_some(std::string& to, std::size_t most);
  /// Writes what fits; `bytes` loses what was written.
  [[nodiscard]] Io write_some(std::string_view& bytes);

  /// Waits until something is there: bytes read, 0 at the end, at an error, or at the deadline.
  [[nodiscard]] std::size_t read(char* to, std::size_t most, Deadline deadline);
  /// Waits until all is written; false at an error or where `stall` passes without progress.
  [[nodiscard]] bool write(std::string_view bytes, std::chrono::milliseconds stall);
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
