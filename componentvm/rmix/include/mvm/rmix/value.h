// SPDX-License-Identifier: Apache-2.0
#pragma once
// The generic representation of arguments and results: what stubs turn C++ into, and all that providers know.
// docs/formats/rmix.md. [Engelmann & Geist, lightweight kernel, §3]

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::rmix {

/// Kinds of value; the numbers are those of the alternatives of Value::Data.
enum class Kind : std::uint8_t {
  kVoid,
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kFloat32,
  kFloat64,
  kString,  ///< see is_text()
  kBytes,
  kArray,
  kStruct,
};
inline constexpr std::size_t kKinds = 16;

/// "int32", "string", ... as service definitions name them; "array", "struct" and "void" besides.
[[nodiscard]] std::string_view to_string(Kind kind);

struct StructType;

/// What a value may be. Finite: a struct holds only structs that were defined before it.
struct Type {
  Kind kind = Kind::kVoid;
  std::shared_ptr<const Type> element;          ///< of an array
  std::shared_ptr<const StructType> structure;  ///< of a struct

  [[nodiscard]] static Type of(Kind kind) { return {kind, nullptr, nullptr}; }
  [[nodiscard]] static Type array(Type element);
  [[nodiscard]] static Type of(std::shared_ptr<const StructType> structure);
  /// "int32", "int32[]", "Point", "Point[][]"
  [[nodiscard]] std::string text() const;
};

/// A named part of a struct, or a parameter of a method.
struct Field {
  std::string name;
  Type type;
};

/// A struct, and likewise a declared exception. It has one field at least; an exception may have none.
struct StructType {
  std::string name;
  std::vector<Field> fields;
};

class Value;
using Bytes = std::vector<std::byte>;
using Array = std::vector<Value>;

/// The fields of a struct, in the order of its type.
struct Struct {
  std::vector<Value> fields;
  friend bool operator==(const Struct& left, const Struct& right);
};

/// Any value. A type says what its parts mean; check() whether it fits.
class Value {
 public:
  using Data = std::variant<std::monostate, bool, std::int8_t, std::int16_t, std::int32_t, std::int64_t,
                            std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, float, double,
                            std::string, Bytes, Array, Struct>;
  Value() = default;
  explicit Value(Data data) : data_(std::move(data)) {}
  template <class T>
  [[nodiscard]] static Value of(T value) {
    return Value(Data(std::in_place_type<T>, std::move(value)));
  }

  [[nodiscard]] Kind kind() const { return static_cast<Kind>(data_.index()); }
  /// Null where it is of another kind.
  template <class T>
  [[nodiscard]] const T* get() const {
    return std::get_if<T>(&data_);
  }
  template <class T>
  [[nodiscard]] T* get() {
    return std::get_if<T>(&data_);
  }
  [[nodiscard]] const Data& data() const { return data_; }
  friend bool operator==(const Value& left, const Value& right);

 private:
  Data data_;
};

/// Values in one message at most, the parts of arrays and structs counted.
inline constexpr std::size_t kMostValues = 1U << 22U;
/// Nested arrays and structs in one type at most.
inline constexpr std::size_t kDeepest = 32;

/// What a string may be: UTF-8 of the characters that XML 1.0 allows, of control characters only tab, line
/// feed and carriage return.
[[nodiscard]] bool is_text(std::string_view text);

/// kInvalid where a value does not fit its type; `what` names it in the message.
[[nodiscard]] Status check(const Value& value, const Type& type, std::string_view what);
/// Likewise of the arguments of a call or the fields of a struct.
[[nodiscard]] Status check(const std::vector<Value>& values, const std::vector<Field>& fields,
                           std::string_view what);

}  // namespace mvm::rmix
