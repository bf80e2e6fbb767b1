#pragma once
// How a lab's things are called on its host.

#include <filesystem>
#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/host/host_agent.h"

namespace mvm::host {

/// Port of the SOAP service inside every node; process nodes, which share the host's address, count up from
/// it.
inline constexpr std::uint16_t kNodeSoapPort = 7790;

/// kInvalid unless `id` is [a-z0-9-], begins with a letter or digit, and has 1..`longest` characters.
[[nodiscard]] Status check_id(std::string_view what, std::string_view id, std::size_t longest);
[[nodiscard]] Status check(const LabSpec& spec);
[[nodiscard]] Status check(const NodeSpec& spec);

/// "mvm-LAB-NODE".
[[nodiscard]] std::string vm_id(const std::string& lab, const std::string& node);
/// A bridge name of at most 15 characters.
[[nodiscard]] std::string network_name(const std::string& lab);
/// The host's own address on a lab's subnet: the first one.
[[nodiscard]] Result<std::string> bridge_address(const std::string& subnet);
/// The token of the SOAP services inside a lab's nodes, known to the host and those nodes: they call each
/// other.
[[nodiscard]] std::string node_token(const LabSpec& lab);

}  // namespace mvm::host
