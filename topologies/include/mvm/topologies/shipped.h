#pragma once
// What is built into the library: published schemas, shipped topologies, images and policies.

#include <string>
#include <string_view>
#include <vector>

#include "mvm/topologies/profile.h"

namespace mvm::topologies {

/// The XSD of a root element ("topology", "job", "lab", "policy", "image"); empty for any other name.
[[nodiscard]] std::string_view schema_text(std::string_view root);

/// The target namespace of a root element: "urn:mvm:job:1".
[[nodiscard]] std::string_view schema_namespace(std::string_view root);

/// The shipped file of this kind and name; empty: there is none.
[[nodiscard]] std::string_view shipped_text(DocumentKind kind, std::string_view name);

/// Names of the shipped files of a kind, sorted.
[[nodiscard]] std::vector<std::string> shipped_names(DocumentKind kind);

}  // namespace mvm::topologies
