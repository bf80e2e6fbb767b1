#pragma once
// Integer expressions, compiled once and evaluated often.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::topologies {

/// A compiled integer expression. Names are numbered in the order of their first use.
class Expression {
 public:
  /// kInvalid with the 1-based column inside `text`.
  [[nodiscard]] static Result<Expression> compile(std::string_view text);

  struct Name {
    std::string text;
    int column = 0;
  };
  [[nodiscard]] const std::vector<Name>& names() const { return names_; }

  /// The value, given that of each of names(). kInvalid for overflow, division by zero, log2 of less than 1.
  [[nodiscard]] Result<std::int64_t> evaluate(std::span<const std::int64_t> values) const;

 private:
  friend class ExpressionParser;
  enum class Op : std::uint8_t {
    kConstant,
    kName,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kModulo,
    kNegate,
    kLog2,
    kMin,
    kMax
  };
  struct Step {
    Op op = Op::kConstant;
    int column = 0;
    std::int64_t operand = 0;  ///< constant, or number of the name
  };
  std::vector<Step> steps_;
  std::vector<Name> names_;
};

}  // namespace mvm::topologies
