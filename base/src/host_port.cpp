#include "mvm/base/host_port.h"

#include "mvm/base/number.h"

namespace mvm {

std::string HostPort::text() const {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? "[" + host + "]:" : host + ":") + std::to_string(port);
}

std::optional<HostPort> read_host_port(std::string_view text, std::optional<std::uint16_t> otherwise) {
  std::string_view host = text;
  std::optional<std::uint16_t> port = otherwise;
  const std::size_t colon = text.rfind(':');
  const bool brackets = text.starts_with('[');
  if (colon != std::string_view::npos && !(brackets && text.ends_with(']'))) {
    host = text.substr(0, colon);
    port = whole_number<std::uint16_t>(text.substr(colon + 1));
  }
  if (brackets) {
    if (!host.ends_with(']')) return std::nullopt;
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty() || !port) return std::nullopt;
  return HostPort{std::string(host), *port};
}

}  // namespace mvm
