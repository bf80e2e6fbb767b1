#include <optional>

#include "mvm/registry/registry.h"

namespace mvm::registry {
namespace {

/// Reads the set that begins behind `[` at `at`; moves `at` behind its `]`. Whether `byte` is in it; nothing
/// where it does not end.
std::optional<bool> in_set(std::string_view pattern, std::size_t& at, unsigned char byte) {
  const auto next = [&]() -> unsigned char {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
    return static_cast<unsigned char>(pattern[at++]);
  };
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  bool first = true;
  while (at < pattern.size() && (first || pattern[at] != ']')) {
    first = false;
    const unsigned char low = next();
    unsigned char high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
      ++at;
      high = next();
    }
    found = found || (low <= byte && byte <= high);
  }
  if (at >= pattern.size()) return std::nullopt;
  ++at;
  return found != negated;
}

/// Whether the pattern's element at `at`, which is no star, takes `byte`; moves `at` behind it.
bool takes(std::string_view pattern, std::size_t& at, char byte) {
  const char element = pattern[at++];
  if (element == '?') return true;
  if (element == '[') return in_set(pattern, at, static_cast<unsigned char>(byte)).value_or(false);
  if (element == '\\' && at < pattern.size()) return pattern[at++] == byte;
  return element == byte;
}

}  // namespace

// Only the last star is ever tried again, so the time is bounded by the product of the lengths.
bool match(std::string_view pattern, std::string_view name) {
  std::size_t at = 0;
  std::size_t in_name = 0;
  std::optional<std::size_t> star;
  std::size_t star_name = 0;
  while (in_name < name.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = ++at;
      star_name = in_name;
      continue;
    }
    std::size_t behind = at;
    if (at < pattern.size() && takes(pattern, behind, name[in_name])) {
      at = behind;
      ++in_name;
      continue;
    }
    if (!star) return false;
    at = *star;
    in_name = ++star_name;
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

Status check_pattern(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > kMaxPattern)
    return Error(ErrorCode::kInvalid, "a pattern has 1 to " + std::to_string(kMaxPattern) + " bytes");
  for (std::size_t at = 0; at < pattern.size();) {
    const char element = pattern[at++];
    if (element == '\\' && at++ >= pattern.size())
      return Error(ErrorCode::kInvalid, "pattern " + std::string(pattern) + ": nothing follows the last \\");
    if (element == '[' && !in_set(pattern, at, 0))
      return Error(ErrorCode::kInvalid, "pattern " + std::string(pattern) + ": a [ without its ]");
  }
  return ok();
}

std::string literal_prefix(std::string_view pattern) {
  std::string prefix;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    if (std::string_view("*?[").find(pattern[at]) != std::string_view::npos) break;
    if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
    prefix += pattern[at];
  }
  return prefix;
}

std::string pattern_of(std::string_view name) {
  std::string pattern;
  for (const char byte : name) {
    if (std::string_view("*?[\\").find(byte) != std::string_view::npos) pattern += '\\';
    pattern += byte;
  }
  return pattern;
}

}  // namespace mvm::registry
