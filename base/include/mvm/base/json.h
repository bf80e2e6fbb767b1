#pragma once
// Fields of JSON objects that came from outside: no exceptions, types and sizes checked.

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm {

/// The text of a field; `otherwise` where it is missing or no text.
[[nodiscard]] std::string text_or(const nlohmann::json& object, const char* key,
                                  std::string_view otherwise = {});
/// The number of a field; `otherwise` where it is missing, negative or no integer.
[[nodiscard]] std::uint64_t number_or(const nlohmann::json& object, const char* key,
                                      std::uint64_t otherwise = 0);
/// The truth of a field; `otherwise` where it is missing or neither true nor false.
[[nodiscard]] bool flag_or(const nlohmann::json& object, const char* key, bool otherwise = false);
/// A field that is an object; an empty one where it is missing or something else.
[[nodiscard]] const nlohmann::json& object_or_empty(const nlohmann::json& object, const char* key);
/// A field that is an array; an empty one where it is missing or something else.
[[nodiscard]] const nlohmann::json& array_or_empty(const nlohmann::json& object, const char* key);

/// A text that must be there; kInvalid where it is missing, empty, longer than `limit` bytes, or holds a NUL.
[[nodiscard]] Result<std::string> need_text(const nlohmann::json& object, const char* key,
                                            std::size_t limit = 4096);
/// A whole number that must be there, 0 .. `maximum`; kInvalid.
[[nodiscard]] Result<std::uint64_t> need_number(
    const nlohmann::json& object, const char* key,
    std::uint64_t maximum = std::numeric_limits<std::uint64_t>::max());
/// A list of texts, at most `count`, each at most `limit` bytes and without NUL; empty where it is missing;
/// kInvalid.
[[nodiscard]] Result<std::vector<std::string>> texts_of(const nlohmann::json& object, const char* key,
                                                        std::size_t count, std::size_t limit = 4096);
/// An object's fields that must all be texts, at most `count`, each at most `limit` bytes and without NUL;
/// kInvalid.
[[nodiscard]] Result<std::vector<std::pair<std::string, std::string>>> text_map_of(
    const nlohmann::json& object, const char* key, std::size_t count, std::size_t limit = 65536);

}  // namespace mvm
