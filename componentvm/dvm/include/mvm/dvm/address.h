#pragma once
// Where the kernels of a distributed virtual machine find each other. [Harness 000, §2.2]

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm::dvm {

/// An IPv4 address and a port, "127.0.0.1:7000".
struct Endpoint {
  std::string host;  ///< dotted
  std::uint16_t port = 0;

  /// Reads "ADDRESS:PORT"; kInvalid else.
  [[nodiscard]] static Result<Endpoint> read(std::string_view text);
  [[nodiscard]] std::string text() const { return host + ":" + std::to_string(port); }
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// The multicast group that a symbolic name is mapped to: one of the 262,144 addresses of the
/// organisation-local scope 239.192.0.0/14 (RFC 2365), and always port 7763. The same on every architecture.
[[nodiscard]] Endpoint multicast_group(std::string_view vm);

/// True where a name may be a DVM's or a kernel's: letters a-z, digits, dashes, 1 to `limit` bytes.
[[nodiscard]] bool valid_name(std::string_view name, std::size_t limit);
inline constexpr std::size_t kLongestVm = 32;
inline constexpr std::size_t kLongestKernel = 24;

}  // namespace mvm::dvm
