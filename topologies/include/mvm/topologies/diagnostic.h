#pragma once
// What is wrong with an input file, and where. All faults of a file are reported at once.

#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/error.h"

namespace mvm::topologies {

/// What kind of rule a file broke.
enum class Fault {
  kIllFormed,  ///< not XML, or XML that is not accepted here (DTD, too deep, too large); only the first is
               ///< reported
  kStructure,  ///< against the published XSD: unknown element, missing attribute, malformed value
  kMeaning,    ///< follows the XSD, but cannot be: unknown role, wrong direction, out of range
};

/// One fault. Lines and columns are 1-based; columns count bytes; line 0: the file as a whole.
struct Diagnostic {
  Fault fault = Fault::kMeaning;
  std::string file;
  int line = 0;
  int column = 0;
  std::string message;     ///< "found X, expected Y"
  std::string suggestion;  ///< the near miss, e.g. "to-right"; empty: none

  /// "file:line:column: error: message; did you mean to-right?"
  [[nodiscard]] std::string describe() const;
  /// The message with its suggestion, without the position.
  [[nodiscard]] std::string text() const;
  bool operator==(const Diagnostic&) const = default;
};

/// All of them, one a line, as a compiler prints them.
[[nodiscard]] std::string describe(const std::vector<Diagnostic>& diagnostics);

/// The diagnostics as one Error (kInvalid): its position is the first one's, its message all of them, one a
/// line. `diagnostics` is not empty.
[[nodiscard]] Error to_error(const std::vector<Diagnostic>& diagnostics);

/// The candidate nearest to `wanted` by edit distance, where it is near enough to be meant; else empty.
[[nodiscard]] std::string near_miss(std::string_view wanted, const std::vector<std::string>& candidates);

}  // namespace mvm::topologies
