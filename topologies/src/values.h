#pragma once
// Numbers of a file: literals and ${expressions}, with faults at their place.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expression.h"
#include "fault_list.h"
#include "mvm/topologies/params.h"

namespace mvm::topologies {

/// An expression whose parameters are filled in; loop variables come at evaluation.
class BoundExpression {
 public:
  /// `loop` names the loop variables in order. Adds faults at `text`, whose column `offset` the expression
  /// starts at (0-based).
  [[nodiscard]] static std::optional<BoundExpression> bind(std::string_view expression, const Text& text,
                                                           std::size_t offset,
                                                           const std::vector<Param>& params,
                                                           const std::vector<std::string>& loop,
                                                           FaultList& faults);

  [[nodiscard]] Result<std::int64_t> evaluate(std::span<const std::int64_t> loop) const;
  /// Column of the expression in its text, to place a fault of evaluate().
  [[nodiscard]] std::size_t offset() const { return offset_; }

 private:
  explicit BoundExpression(Expression expression) : expression_(std::move(expression)) {}
  struct LoopUse {
    std::size_t name = 0;
    std::size_t variable = 0;
  };
  Expression expression_;
  std::vector<LoopUse> uses_;
  mutable std::vector<std::int64_t> values_;
  std::size_t offset_ = 0;
};

/// Bounds of a number and what it is called in a message.
struct Range {
  std::string_view what;
  std::int64_t least = 0;
  std::int64_t most = 0;
};

/// The number of "4" or "${n}"; none, with a fault added, where it is wrong or out of range.
[[nodiscard]] std::optional<std::int64_t> read_number(const Text& text, Range range,
                                                      const std::vector<Param>& params, FaultList& faults);

/// Bytes of "256MiB" or "${m}MiB".
[[nodiscard]] std::optional<std::uint64_t> read_bytes(const Text& text, std::string_view what,
                                                      std::uint64_t least, const std::vector<Param>& params,
                                                      FaultList& faults);

/// Milliseconds of "10m" or "${t}s".
[[nodiscard]] std::optional<std::int64_t> read_duration(const Text& text, std::string_view what,
                                                        const std::vector<Param>& params, FaultList& faults);

/// The integer parameter of this name; an Error that says why there is none, with a near miss in the message.
[[nodiscard]] Result<std::int64_t> integer_param(const std::vector<Param>& params, std::string_view name);

/// "a, b, c" of names.
[[nodiscard]] std::string join_names(const std::vector<std::string>& names);

}  // namespace mvm::topologies
