#include "format.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <optional>

#include "mvm/base/clock.h"

namespace mvm::cli {
namespace {

struct Decoded {
  char32_t code = 0;
  std::size_t size = 1;
  bool valid = false;
};

/// The first character of a non-empty text; an invalid byte is one of size 1.
Decoded decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, 1, true};
  std::size_t size = 0;
  char32_t code = 0;
  if (first >= 0xc2 && first <= 0xdf) {
    size = 2;
    code = first & 0x1fU;
  } else if (first >= 0xe0 && first <= 0xef) {
    size = 3;
    code = first & 0x0fU;
  } else if (first >= 0xf0 && first <= 0xf4) {
    size = 4;
    code = first & 0x07U;
  }
  if (size == 0 || text.size() < size) return {};
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return {};
    code = (code << 6U) | (byte(i) & 0x3fU);
  }
  const bool overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (overlong || surrogate || code > 0x10ffff) return {};
  return {code, size, true};
}

struct Range {
  char32_t first, last;
};

constexpr std::array kNoWidth = {Range{0x0300, 0x036f}, Range{0x0483, 0x0489}, Range{0x0591, 0x05bd},
                                 Range{0x0610, 0x061a}, Range{0x064b, 0x065f}, Range{0x200b, 0x200f},
                                 Range{0x202a, 0x202e}, Range{0x2060, 0x2064}, Range{0x20d0, 0x20f0},
                                 Range{0xfe00, 0xfe0f}, Range{0xfeff, 0xfeff}, Range{0xe0100, 0xe01ef}};
constexpr std::array kDoubleWidth = {
    Range{0x1100, 0x115f},   Range{0x2e80, 0x303e},   Range{0x3041, 0x33ff},  Range{0x3400, 0x4dbf},
    Range{0x4e00, 0x9fff},   Range{0xa000, 0xa4cf},   Range{0xac00, 0xd7a3},  Range{0xf900, 0xfaff},
    Range{0xfe30, 0xfe6f},   Range{0xff00, 0xff60},   Range{0xffe0, 0xffe6},  Range{0x1f300, 0x1f64f},
    Range{0x1f680, 0x1f6ff}, Range{0x1f900, 0x1f9ff}, Range{0x20000, 0x3fffd}};

template <std::size_t N>
bool within(char32_t code, const std::array<Range, N>& ranges) {
  for (const Range& range : ranges) {
    if (code >= range.first && code <= range.last) return true;
  }
  return false;
}

std::size_t width_of(const Decoded& character) {
  if (!character.valid) return 1;
  if (within(character.code, kNoWidth)) return 0;
  return within(character.code, kDoubleWidth) ? 2 : 1;
}

/// Characters that move the cursor or turn the direction of text.
bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

/// Length of a colour sequence (ESC [ digits ; ... m) at the start of text; 0: there is none.
std::size_t colour_sequence(std::string_view text) {
  if (text.size() < 3 || text[0] != '\x1b' || text[1] != '[') return 0;
  std::size_t end = 2;
  while (end < text.size() && end < 32 && ((text[end] >= '0' && text[end] <= '9') || text[end] == ';')) ++end;
  return end < text.size() && text[end] == 'm' ? end + 1 : 0;
}

}  // namespace

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Decoded character = decode(text);
    width += width_of(character);
    text.remove_prefix(character.size);
  }
  return width;
}

std::string cut(std::string_view text, std::size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns == 0) return {};
  std::size_t width = 0;
  std::size_t end = 0;
  while (end < text.size()) {
    const Decoded character = decode(text.substr(end));
    if (width + width_of(character) > columns - 1) break;
    width += width_of(character);
    end += character.size;
  }
  return std::string(text.substr(0, end)) + "…";
}

std::string one_line(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Decoded character = decode(text);
    if (character.valid && (character.code == '\n' || character.code == '\t')) {
      result += ' ';
    } else if (!character.valid || is_control(character.code)) {
      result += '?';
    } else {
      result += text.substr(0, character.size);
    }
    text.remove_prefix(character.size);
  }
  return result;
}

std::string harmless(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Decoded character = decode(text);
    std::size_t size = character.size;
    if (const std::size_t colour = colour_sequence(text); colour != 0) {
      result += text.substr(0, colour);
      size = colour;
    } else if (character.valid && (character.code == '\n' || character.code == '\t')) {
      result += text[0];
    } else if (!character.valid || is_control(character.code)) {
      if (text[0] != '\r') result += '?';
    } else {
      result += text.substr(0, size);
    }
    text.remove_prefix(size);
  }
  return result;
}

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // 1023.95 would be printed as 1024.0: that is already one of the next unit.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  std::string number = text.data();
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  return number + " " + kUnits[unit];
}

std::string human_duration(std::int64_t milliseconds) {
  const std::int64_t seconds = milliseconds < 0 ? 0 : milliseconds / 1000;
  const auto days = static_cast<long>(seconds / 86400);
  const auto hours = static_cast<int>(seconds / 3600 % 24);
  const auto minutes = static_cast<int>(seconds / 60 % 60);
  const auto rest = static_cast<int>(seconds % 60);
  std::array<char, 64> text{};
  if (days > 0) {
    std::snprintf(text.data(), text.size(), "%ld-%02d:%02d:%02d", days, hours, minutes, rest);
  } else if (hours > 0) {
    std::snprintf(text.data(), text.size(), "%d:%02d:%02d", hours, minutes, rest);
  } else {
    std::snprintf(text.data(), text.size(), "%d:%02d", minutes, rest);
  }
  return text.data();
}

std::string human_latency(std::uint64_t nanoseconds) {
  static constexpr std::array<const char*, 4> kUnits = {"ns", "us", "ms", "s"};
  auto value = static_cast<double>(nanoseconds);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) value /= 1000, ++unit;
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f%s", digits, value, kUnits[unit]);
  return text.data();
}

std::string local_time(std::int64_t wall_ms) {
  if (wall_ms <= 0) return "-";
  const auto seconds = static_cast<std::time_t>(wall_ms / 1000);
  std::tm parts{};
  if (localtime_r(&seconds, &parts) == nullptr) return "-";
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string iso_time(std::int64_t wall_ms) { return wall_ms <= 0 ? std::string() : format_time(wall_ms); }

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string result;
  for (const std::string& part : parts) {
    if (!result.empty()) result += separator;
    result += part;
  }
  return result;
}

std::string count_of(std::uint64_t count, std::string_view noun) {
  const bool es = noun.ends_with("s") || noun.ends_with("ch");
  return std::to_string(count) + " " + std::string(noun) + (count == 1 ? "" : es ? "es" : "s");
}

}  // namespace mvm::cli
