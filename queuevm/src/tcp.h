#pragma once
// TCP sockets by numeric address, and abstract UNIX sockets by "@NAME", non-blocking.

#include <cstdint>
#include <string>
#include <utility>

#include "mvm/queuevm/proxy.h"

namespace mvm::queuevm::tcp {

[[nodiscard]] Status check_address(const std::string& address);
/// The socket and the port it got; 0 for a UNIX socket.
[[nodiscard]] Result<std::pair<UniqueFd, std::uint16_t>> listen(const std::string& address,
                                                                std::uint16_t port);
/// Empty where nobody is waiting.
[[nodiscard]] UniqueFd accept(int listener);
/// Begins to connect; when the socket is writable, connect_error() tells how it went.
[[nodiscard]] Result<UniqueFd> connect(const std::string& address, std::uint16_t port);
/// 0 or an errno.
[[nodiscard]] int connect_error(int socket);

}  // namespace mvm::queuevm::tcp
