#pragma once
// Texts that are a number and nothing else.

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace mvm {

/// The number that the whole of `text` is; nothing where it is anything else, or is out of the type's range.
/// No blanks, no plus sign, no "0x"; a minus sign where the type has one. `base` is that of integers, 2 to
/// 36; floating-point numbers are read as std::from_chars does, "inf" and "nan" included. Any thread.
template <class Number>
[[nodiscard]] std::optional<Number> whole_number(std::string_view text, int base = 10) {
  Number number{};
  const char* const end = text.data() + text.size();
  std::from_chars_result read{};
  if constexpr (std::is_floating_point_v<Number>) {
    read = std::from_chars(text.data(), end, number);
  } else {
    read = std::from_chars(text.data(), end, number, base);
  }
  if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return number;
}

}  // namespace mvm
