#include "mvm/dvm/address.h"

#include <arpa/inet.h>

#include <algorithm>

#include "mvm/base/digest.h"
#include "mvm/base/host_port.h"
#include "mvm/base/number.h"

namespace mvm::dvm {

Result<Endpoint> Endpoint::read(std::string_view text) {
  const Error wrong(ErrorCode::kInvalid,
                    "address: found \"" + std::string(text.substr(0, 60)) + "\", expected IPv4-ADDRESS:PORT");
  const auto place = read_host_port(text);
  in_addr parsed{};
  if (!place || text.starts_with('[') || place->host.size() > 15 ||
      ::inet_pton(AF_INET, place->host.c_str(), &parsed) != 1)
    return wrong;
  return Endpoint{place->host, place->port};
}

Endpoint multicast_group(std::string_view vm) {
  constexpr std::uint16_t kPort = 7763;
  const std::string digest = sha256_hex("mvm.dvm.group:" + std::string(vm));
  const std::uint32_t hash = whole_number<std::uint32_t>(digest.substr(0, 8), 16).value_or(0);
  return {"239." + std::to_string(192 + ((hash >> 16) & 3)) + "." + std::to_string((hash >> 8) & 255) + "." +
              std::to_string(hash & 255),
          kPort};
}

bool valid_name(std::string_view name, std::size_t limit) {
  return !name.empty() && name.size() <= limit && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

}  // namespace mvm::dvm
