// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a service can do, as data: made by generated stubs or read from a service definition
// (docs/formats/service.md), and enough for any provider to carry its calls.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/rmix/value.h"

namespace mvm::rmix {

/// One operation.
struct Method {
  std::string name;
  std::vector<Field> parameters;
  Type result;                                                ///< kVoid: none
  std::vector<std::shared_ptr<const StructType>> exceptions;  ///< that it may answer with
  bool one_way = false;                                       ///< answers nothing: no result, no exceptions
  bool concurrent = false;  ///< runs beside other calls of its reference; else one after the other, in order
};

/// A service's description. Immutable once shared.
struct Interface {
  std::string name;           ///< an identifier, unique among services
  std::uint32_t version = 1;  ///< another version is another interface
  std::uint32_t program = 0;  ///< ONC RPC program number; 0: not to be reached that way
  std::vector<std::shared_ptr<const StructType>> structs;  ///< in the order of their definition
  std::vector<std::shared_ptr<const StructType>> exceptions;
  std::vector<Method> methods;  ///< a method's number is its place here; on ONC RPC its place + 1

  /// "calculator/1"
  [[nodiscard]] std::string text() const { return name + "/" + std::to_string(version); }
  /// The number of a method; kNotFound.
  [[nodiscard]] Result<std::uint32_t> find(std::string_view method) const;
};
using InterfacePtr = std::shared_ptr<const Interface>;

/// kInvalid where names are no identifiers or double, numbers are out of bounds, types are too deep, ...
[[nodiscard]] Status check(const Interface& interface);

/// SHA-256, in hexadecimal, of all that both ends of a call must agree on.
[[nodiscard]] std::string digest(const Interface& interface);

}  // namespace mvm::rmix
