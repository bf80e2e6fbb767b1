#include "mvm/base/json.h"

namespace mvm {
namespace {

const nlohmann::json* find(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

Error wrong(const char* key, const std::string& expected) {
  return Error(ErrorCode::kInvalid, "field \"" + std::string(key) + "\": expected " + expected);
}

bool good_text(const nlohmann::json& value, std::size_t limit) {
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return text.size() <= limit && text.find('\0') == std::string::npos;
}

}  // namespace

std::string text_or(const nlohmann::json& object, const char* key, std::string_view otherwise) {
  const nlohmann::json* value = find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string(otherwise);
}

std::uint64_t number_or(const nlohmann::json& object, const char* key, std::uint64_t otherwise) {
  const nlohmann::json* value = find(object, key);
  if (value == nullptr || !value->is_number_integer()) return otherwise;
  if (!value->is_number_unsigned() && value->get<std::int64_t>() < 0) return otherwise;
  return value->get<std::uint64_t>();
}

bool flag_or(const nlohmann::json& object, const char* key, bool otherwise) {
  const nlohmann::json* value = find(object, key);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
}

const nlohmann::json& object_or_empty(const nlohmann::json& object, const char* key) {
  static const nlohmann::json empty = nlohmann::json::object();
  const nlohmann::json* value = find(object, key);
  return value != nullptr && value->is_object() ? *value : empty;
}

const nlohmann::json& array_or_empty(const nlohmann::json& object, const char* key) {
  static const nlohmann::json empty = nlohmann::json::array();
  const nlohmann::json* value = find(object, key);
  return value != nullptr && value->is_array() ? *value : empty;
}

Result<std::string> need_text(const nlohmann::json& object, const char* key, std::size_t limit) {
  const nlohmann::json* value = find(object, key);
  if (value == nullptr || !good_text(*value, limit) || value->get_ref<const std::string&>().empty())
    return wrong(key, "a text of 1 to " + std::to_string(limit) + " bytes");
  return value->get<std::string>();
}

Result<std::uint64_t> need_number(const nlohmann::json& object, const char* key, std::uint64_t maximum) {
  const nlohmann::json* value = find(object, key);
  const bool whole = value != nullptr && value->is_number_integer() &&
                     (value->is_number_unsigned() || value->get<std::int64_t>() >= 0);
  if (!whole || value->get<std::uint64_t>() > maximum)
    return wrong(key, "a whole number from 0 to " + std::to_string(maximum));
  return value->get<std::uint64_t>();
}

Result<std::vector<std::string>> texts_of(const nlohmann::json& object, const char* key, std::size_t count,
                                          std::size_t limit) {
  std::vector<std::string> texts;
  const nlohmann::json* value = find(object, key);
  if (value == nullptr) return texts;
  const std::string expected =
      "a list of at most " + std::to_string(count) + " texts of at most " + std::to_string(limit) + " bytes";
  if (!value->is_array() || value->size() > count) return wrong(key, expected);
  for (const nlohmann::json& item : *value) {
    if (!good_text(item, limit)) return wrong(key, expected);
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

Result<std::vector<std::pair<std::string, std::string>>> text_map_of(const nlohmann::json& object,
                                                                     const char* key, std::size_t count,
                                                                     std::size_t limit) {
  std::vector<std::pair<std::string, std::string>> texts;
  const nlohmann::json* value = find(object, key);
  if (value == nullptr) return texts;
  const std::string expected = "an object of at most " + std::to_string(count) + " texts";
  if (!value->is_object() || value->size() > count) return wrong(key, expected);
  for (const auto& [name, item] : value->items()) {
    if (name.empty() || name.size() > limit || name.find('\0') != std::string::npos ||
        !good_text(item, limit))
      return wrong(key, expected);
    texts.emplace_back(name, item.get<std::string>());
  }
  return texts;
}

}  // namespace mvm
