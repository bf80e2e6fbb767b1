#include "mvm/osvm/network_spec.h"

#include <algorithm>
#include <array>

#include "mvm/base/digest.h"
#include "mvm/base/number.h"

namespace mvm::osvm {
namespace {

Result<unsigned> parse_number(std::string_view text, unsigned largest) {
  const auto value = whole_number<unsigned>(text);
  const bool padded = text.size() > 1 && text[0] == '0';
  if (!value || *value > largest || padded)
    return Error(ErrorCode::kInvalid, "'" + std::string(text.substr(0, 32)) + "' is not a number up to " +
                                          std::to_string(largest));
  return *value;
}

}  // namespace

Result<std::uint32_t> parse_ipv4(std::string_view text) {
  std::uint32_t address = 0;
  std::string_view rest = text;
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = rest.find('.');
    if ((dot == std::string_view::npos) != (part == 3))
      return Error(ErrorCode::kInvalid, "'" + std::string(text.substr(0, 32)) + "' is not an IPv4 address");
    MVM_ASSIGN(const unsigned value, parse_number(rest.substr(0, dot), 255));
    address = (address << 8) | value;
    if (part < 3) rest.remove_prefix(dot + 1);
  }
  return address;
}

Result<Subnet> parse_subnet(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    return Error(ErrorCode::kInvalid, "'" + std::string(text.substr(0, 32)) + "' is not ADDRESS/PREFIX");
  MVM_ASSIGN(const std::uint32_t address, parse_ipv4(text.substr(0, slash)));
  MVM_ASSIGN(const unsigned prefix, parse_number(text.substr(slash + 1), 30));
  if (prefix < 8) return Error(ErrorCode::kInvalid, "a subnet's prefix is 8 to 30");
  const std::uint32_t mask = ~std::uint32_t{0} << (32 - prefix);
  if ((address & ~mask) != 0)
    return Error(ErrorCode::kInvalid, std::string(text) + " has bits set beyond its prefix");
  return Subnet{address, prefix, mask};
}

Status validate(const NetworkSpec& spec) {
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (spec.name.empty() || spec.name.size() > 15 || !std::all_of(spec.name.begin(), spec.name.end(), fits) ||
      spec.name.front() == '-')
    return Error(ErrorCode::kInvalid,
                 "network name '" + spec.name.substr(0, 32) + "' is not [a-z0-9-]{1,15}");
  const auto label = [&](char c) {
    return fits(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == ':';
  };
  if (spec.lab.empty() || spec.lab.size() > 128 || !std::all_of(spec.lab.begin(), spec.lab.end(), label))
    return Error(ErrorCode::kInvalid, "network " + spec.name + ": its lab is not a name");
  auto subnet = parse_subnet(spec.subnet);
  if (!subnet) return std::move(subnet).error().wrap("network " + spec.name + ": subnet");
  auto host = parse_ipv4(spec.host_address);
  if (!host) return std::move(host).error().wrap("network " + spec.name + ": host address");
  if ((*host & subnet->mask) != subnet->address || *host == subnet->address ||
      *host == (subnet->address | ~subnet->mask))
    return Error(ErrorCode::kInvalid, "network " + spec.name + ": host address " + spec.host_address +
                                          " is not a host of " + spec.subnet);
  return ok();
}

std::string mac_for(std::string_view vm_id) {
  const std::string digest = sha256_hex(vm_id);
  std::string mac = "52:54:00";  // QEMU's locally administered prefix
  for (std::size_t i = 0; i < 3; ++i) mac += ":" + digest.substr(2 * i, 2);
  return mac;
}

}  // namespace mvm::osvm
