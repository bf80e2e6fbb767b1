#pragma once
// Fields of JSON from outside: what is missing or of another type is its default, and nothing throws.

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace mvm::broker::fields {

inline std::string text(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// What a kernel or another host's daemon says is not trusted: of a text so much at most, in bytes.
inline constexpr std::size_t kLongestText = 4096;
inline std::string heard(const nlohmann::json& object, const char* name) {
  return text(object, name).substr(0, kLongestText);
}

/// Never negative.
inline std::uint64_t number(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return 0;
  if (found->is_number_unsigned()) return found->get<std::uint64_t>();
  const auto value = found->get<std::int64_t>();
  return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}

/// An exit code or a signal.
inline int small(const nlohmann::json& object, const char* name) {
  return static_cast<int>(number(object, name) & 0xffffU);
}

inline bool flag(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

/// An empty one where it is missing.
inline nlohmann::json object(const nlohmann::json& from, const char* name) {
  const auto found = from.find(name);
  return found != from.end() && found->is_object() ? *found : nlohmann::json::object();
}

}  // namespace mvm::broker::fields
