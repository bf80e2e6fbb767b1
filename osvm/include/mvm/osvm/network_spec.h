#pragma once
// A lab's virtual network on one host [MVM 2006, §3.2].

#include <cstdint>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm::osvm {

/// An isolated bridge with the host's own address on it.
struct NetworkSpec {
  std::string name;  ///< the bridge too: [a-z0-9-], at most 15 characters
  std::string lab;
  std::string subnet;        ///< "10.77.3.0/24", prefix 8 to 30
  std::string host_address;  ///< "10.77.3.1", within the subnet
};

/// kInvalid with the field's name where a value does not fit.
[[nodiscard]] Status validate(const NetworkSpec& spec);

/// An IPv4 address as a number in host byte order; strict dotted quad. kInvalid otherwise.
[[nodiscard]] Result<std::uint32_t> parse_ipv4(std::string_view text);

/// A subnet, numbers in host byte order.
struct Subnet {
  std::uint32_t address = 0;
  unsigned prefix = 24;
  std::uint32_t mask = 0;
};

/// "10.77.3.0/24" with no bit set beyond the prefix, prefix 8 to 30. kInvalid otherwise.
[[nodiscard]] Result<Subnet> parse_subnet(std::string_view text);

/// A deterministic, locally administered unicast MAC for a VM's id.
[[nodiscard]] std::string mac_for(std::string_view vm_id);

}  // namespace mvm::osvm
