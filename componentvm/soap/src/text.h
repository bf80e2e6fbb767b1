#pragma once
// Text that XML can carry.

#include <string>
#include <string_view>

namespace mvm::soap {

/// The text with everything that XML 1.0 forbids (control characters, broken UTF-8) replaced by U+FFFD.
[[nodiscard]] std::string xml_text(std::string_view text);

/// The text with markup escaped, for the XML that is written by hand.
[[nodiscard]] std::string xml_escape(std::string_view text);

}  // namespace mvm::soap
