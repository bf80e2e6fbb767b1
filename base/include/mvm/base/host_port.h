#pragma once
// Where something listens, as people and settings write it: HOST:PORT.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mvm {

/// A host and one of its ports.
struct HostPort {
  std::string host;  ///< never empty; an IPv6 address is without its brackets
  std::uint16_t port = 0;

  /// As read_host_port() reads it, and as a URL has it: what has colons of its own is in brackets.
  [[nodiscard]] std::string text() const;
};

/// Reads "HOST:PORT", where an IPv6 address may be in brackets: the last colon is the port's. A text without
/// a port has that of `otherwise`. Nothing where the host is missing, a bracket is not closed, or the port is
/// no number up to 65535. What is a good host, and whether port 0 means one, is for the caller to say. Any
/// thread.
[[nodiscard]] std::optional<HostPort> read_host_port(std::string_view text,
                                                     std::optional<std::uint16_t> otherwise = {});

}  // namespace mvm
