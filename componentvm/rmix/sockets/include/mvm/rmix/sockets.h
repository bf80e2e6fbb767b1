#pragma once
// Sockets by endpoint: "SCHEME://HOST:PORT", "native+shm:PATH".

#include <cstdint>
#include <optional>
#include <string>

#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::rmix::sockets {

/// An endpoint's parts.
struct Place {
  std::string scheme;
  std::string host;  ///< empty of native+shm
  std::uint16_t port = 0;
  std::string path;    ///< of native+shm; "@NAME" is an abstract name
  std::string server;  ///< of native+shm: who is meant; empty: whoever
  [[nodiscard]] static Result<Place> read(const std::string& endpoint);
  [[nodiscard]] std::string text() const;
};

/// Non-blocking. Fills in the port. An old socket file that nobody listens at is replaced.
[[nodiscard]] Result<UniqueFd> listen_at(Place& place);
/// Non-blocking, connected. kUnavailable, kTimeout.
[[nodiscard]] Result<UniqueFd> connect_to(const Place& place, Clock::Instant deadline);
/// Empty where nobody waits.
[[nodiscard]] UniqueFd accept_from(int listener);

/// "127.0.0.1:4711", "unix"
[[nodiscard]] std::string peer_address(int socket);
/// Of the process at the other end of a UNIX socket.
[[nodiscard]] std::optional<std::uint32_t> peer_uid(int socket);

/// Waits for events of a descriptor. False where the time passed.
[[nodiscard]] bool wait_for(int fd, short events, Clock::Instant deadline);

/// One message with one descriptor over a UNIX socket.
[[nodiscard]] Status send_descriptor(int socket, std::uint64_t note, int descriptor);
struct Received {
  std::uint64_t note = 0;
  UniqueFd descriptor;
};
/// Waits for it.
[[nodiscard]] Result<Received> receive_descriptor(int socket, Clock::Instant deadline);

}  // namespace mvm::rmix::sockets
