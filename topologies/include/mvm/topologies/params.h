#pragma once
// Parameters of topologies and jobs: one flat name space, typed values, integer expressions.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::topologies {

enum class ParamType { kInteger, kNumber, kString, kBoolean };
[[nodiscard]] std::string_view to_string(ParamType type);

/// A parameter with its final value.
struct Param {
  std::string name;  ///< [A-Za-z_][A-Za-z0-9_]*
  ParamType type = ParamType::kString;
  std::string value;         ///< canonical text: "8", "2.5", "true", any text
  std::int64_t integer = 0;  ///< the value of a kInteger
  bool operator==(const Param&) const = default;
};

/// "MVM_PARAM_STEPS" for "steps": the environment variable that a build sees.
[[nodiscard]] std::string environment_name(std::string_view param);

/// Gives the integer value of a name inside an expression, or an Error that explains why it has none.
using Lookup = std::function<Result<std::int64_t>(std::string_view name)>;

/// The value of an integer expression: + - * / % ( ), names, log2(a) (rounded down, a >= 1), min(a,b,...),
/// max(a,b,...). Division truncates toward zero. kInvalid, with the column inside `text` as where().column
/// (1-based), for bad syntax, overflow, division by zero, log2 of less than 1, unknown names.
[[nodiscard]] Result<std::int64_t> evaluate(std::string_view text, const Lookup& lookup);

/// Replaces every `${...}` of `text`: `${name}` by the parameter's text, anything else as an integer
/// expression; `$$` is one dollar sign. kInvalid, with the column inside `text`.
[[nodiscard]] Result<std::string> substitute(std::string_view text, const std::vector<Param>& params);

/// Splits a command into arguments at white space. Quotes ('...' and "...") and backslashes keep white space
/// and themselves apart, as in a shell; nothing else is special. `${...}` never splits. kInvalid for an open
/// quote or an end in a backslash, with the column.
[[nodiscard]] Result<std::vector<std::string>> split_arguments(std::string_view text);

/// A count of bytes such as "256MiB" (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB; none: bytes).
[[nodiscard]] Result<std::uint64_t> parse_bytes(std::string_view text);

/// A time such as "10m", in milliseconds (ms, s, m, h, d).
[[nodiscard]] Result<std::int64_t> parse_duration_ms(std::string_view text);

}  // namespace mvm::topologies
