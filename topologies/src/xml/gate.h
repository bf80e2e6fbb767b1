#pragma once
// The gate: libxml2 decides what is well-formed, within the limits and valid by the published XSD.

#include <string>
#include <string_view>
#include <vector>

#include "mvm/topologies/diagnostic.h"

namespace mvm::topologies::xml {

/// What the gate found.
struct GateResult {
  std::vector<Diagnostic> faults;  ///< ill-formed: one; else the XSD's own, in libxml2's words
  bool well_formed = false;        ///< a document can be built
  std::string root;                ///< local name of the root element
  std::string root_namespace;
};

/// Checks a document. Opens nothing, loads nothing: no DTD, no entities, no schema locations.
[[nodiscard]] GateResult check(std::string_view text, const std::string& file);

/// Whether `text` matches a pattern of XSD; the pattern is compiled once and kept. Thread-safe.
[[nodiscard]] bool matches_pattern(const std::string& pattern, const std::string& text);

}  // namespace mvm::topologies::xml
