#include "mvm/rmix/value.h"

#include <array>

namespace mvm::rmix {
namespace {

constexpr std::array<std::string_view, kKinds> kNames{
    "void",   "bool",   "int8",    "int16",   "int32",  "int64", "uint8", "uint16",
    "uint32", "uint64", "float32", "float64", "string", "bytes", "array", "struct"};
static_assert(std::variant_size_v<Value::Data> == kKinds);

Error misfit(std::string_view what, const Value& value, const Type& type) {
  return {ErrorCode::kInvalid, std::string(what) + ": found " + std::string(to_string(value.kind())) +
                                   ", expected " + type.text()};
}

Status check_value(const Value& value, const Type& type, std::string_view what, std::size_t& left) {
  if (left == 0)
    return Error(ErrorCode::kInvalid, std::string(what) + ": expected at most " +
                                          std::to_string(kMostValues) + " values in one message");
  --left;
  if (value.kind() != type.kind) return misfit(what, value, type);
  if (const auto* text = value.get<std::string>(); text != nullptr && !is_text(*text))
    return Error(
        ErrorCode::kInvalid,
        std::string(what) + ": expected UTF-8 text without control characters; bytes are type bytes");
  if (const auto* array = value.get<Array>())
    for (const Value& part : *array) MVM_TRY(check_value(part, *type.element, what, left));
  const auto* record = value.get<Struct>();
  if (record == nullptr) return ok();
  const std::vector<Field>& fields = type.structure->fields;
  if (record->fields.size() != fields.size()) return misfit(what, value, type);
  for (std::size_t i = 0; i < fields.size(); ++i)
    MVM_TRY(check_value(record->fields[i], fields[i].type, fields[i].name, left));
  return ok();
}

}  // namespace

/// Nor overlong forms, surrogates, and what no XML may hold: every protocol carries the same texts.
bool is_text(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at++]);
    if ((first >= 0x20 && first < 0x80) || first == '\t' || first == '\n' || first == '\r') continue;
    const int more = first >= 0xc2 && first < 0xe0   ? 1
                     : first >= 0xe0 && first < 0xf0 ? 2
                     : first >= 0xf0 && first < 0xf5 ? 3
                                                     : 0;
    if (more == 0 || text.size() - at < static_cast<std::size_t>(more)) return false;
    const auto second = static_cast<unsigned char>(text[at]);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
      return false;
    const bool beyond = first == 0xef && second == 0xbf && static_cast<unsigned char>(text[at + 1]) >= 0xbe;
    if (beyond) return false;  // U+FFFE, U+FFFF
    for (int i = 0; i < more; ++i)
      if ((static_cast<unsigned char>(text[at++]) & 0xc0U) != 0x80U) return false;
  }
  return true;
}

std::string_view to_string(Kind kind) { return kNames.at(static_cast<std::size_t>(kind)); }

Type Type::array(Type element) {
  return {Kind::kArray, std::make_shared<const Type>(std::move(element)), nullptr};
}

Type Type::of(std::shared_ptr<const StructType> structure) {
  return {Kind::kStruct, nullptr, std::move(structure)};
}

std::string Type::text() const {
  if (kind == Kind::kArray && element) return element->text() + "[]";
  if (kind == Kind::kStruct && structure) return structure->name;
  return std::string(to_string(kind));
}

bool operator==(const Struct& left, const Struct& right) { return left.fields == right.fields; }
bool operator==(const Value& left, const Value& right) { return left.data_ == right.data_; }

Status check(const Value& value, const Type& type, std::string_view what) {
  std::size_t left = kMostValues;
  return check_value(value, type, what, left);
}

Status check(const std::vector<Value>& values, const std::vector<Field>& fields, std::string_view what) {
  if (values.size() != fields.size())
    return Error(ErrorCode::kInvalid, std::string(what) + ": found " + std::to_string(values.size()) +
                                          " values, expected " + std::to_string(fields.size()));
  std::size_t left = kMostValues;
  for (std::size_t i = 0; i < fields.size(); ++i)
    MVM_TRY(check_value(values[i], fields[i].type, fields[i].name, left));
  return ok();
}

}  // namespace mvm::rmix
