#pragma once
// Names of a definition that mean something else in a generated language.

#include <string>

#include "mvm/rmix/interface.h"

namespace mvm::rmix {

/// Itself, with a _ behind it where it is a word of C++ or of the stubs.
[[nodiscard]] std::string cpp_name(const std::string& name);
/// Likewise for rpcgen's language and the C that it makes.
[[nodiscard]] std::string xdr_name(const std::string& name);
/// "std::vector<Point>"
[[nodiscard]] std::string cpp_type(const Type& type);

}  // namespace mvm::rmix
