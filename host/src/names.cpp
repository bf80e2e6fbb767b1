#include "names.h"

#include <algorithm>

#include "mvm/base/digest.h"
#include "mvm/osvm/network_spec.h"

namespace mvm::host {

Status check_id(std::string_view what, std::string_view id, std::size_t longest) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const bool fits = !id.empty() && id.size() <= longest && plain(id.front()) &&
                    std::all_of(id.begin(), id.end(), [&](char c) { return plain(c) || c == '-'; });
  if (fits) return ok();
  return Error(ErrorCode::kInvalid, std::string(what) + ": found \"" + std::string(id.substr(0, 80)) +
                                        "\", expected 1 to " + std::to_string(longest) +
                                        " of a-z, 0-9 and -, beginning with a letter or digit");
}

Status check(const LabSpec& spec) {
  MVM_TRY(check_id("lab", spec.lab, 32));
  if (!is_sha256(spec.secret))
    return Error(ErrorCode::kInvalid, "lab " + spec.lab + ": the secret is not 64 hexadecimal digits");
  if (!spec.subnet.empty()) MVM_TRY(bridge_address(spec.subnet));
  if (spec.seats > kMostRegionSeats)
    return Error(ErrorCode::kInvalid, "lab " + spec.lab + ": more than " + std::to_string(kMostRegionSeats) +
                                          " guests that share memory");
  return ok();
}

Status check(const NodeSpec& spec) {
  MVM_TRY(check_id("lab", spec.lab, 32));
  MVM_TRY(check_id("node", spec.node, 24));
  if (!spec.address.empty()) MVM_TRY(osvm::parse_ipv4(spec.address));
  return ok();
}

std::string vm_id(const std::string& lab, const std::string& node) { return "mvm-" + lab + "-" + node; }

std::string network_name(const std::string& lab) {
  return "mvm-" + (lab.size() <= 11 ? lab : sha256_hex(lab).substr(0, 11));
}

Result<std::string> bridge_address(const std::string& subnet) {
  MVM_ASSIGN(const osvm::Subnet net, osvm::parse_subnet(subnet));
  const std::uint32_t address = net.address + 1;
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8)
    text += std::to_string(address >> shift & 255U) + (shift > 0 ? "." : "");
  return text;
}

std::string node_token(const LabSpec& lab) { return sha256_hex("node-soap/" + lab.secret); }

}  // namespace mvm::host
