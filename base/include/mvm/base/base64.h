#pragma once
// Bytes as text in the alphabet of RFC 4648, section 4, with padding.

#include <optional>
#include <string>
#include <string_view>

namespace mvm {

[[nodiscard]] std::string base64(std::string_view bytes);
/// Nothing where the text is not what base64() makes.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

}  // namespace mvm
