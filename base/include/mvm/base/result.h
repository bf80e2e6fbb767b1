#pragma once
// Result<T>: a value or an Error, for everything the world may fail.

#include <tl/expected.hpp>
#include <utility>

#include "mvm/base/error.h"

namespace mvm {

/// Either a T or an Error. Derives from tl::expected so that the class itself is [[nodiscard]].
template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using Base = tl::expected<T, Error>;
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}  // NOLINT: implicit on purpose
  Result(Base base) : Base(std::move(base)) {}                   // NOLINT: implicit on purpose
};

using Status = Result<void>;

/// Success of a Status: `return ok();`
[[nodiscard]] inline Status ok() { return Status{}; }

}  // namespace mvm

#define MVM_CONCAT_INNER(a, b) a##b
#define MVM_CONCAT(a, b) MVM_CONCAT_INNER(a, b)

// NOLINTBEGIN(bugprone-macro-parentheses): a declaration cannot stand in parentheses.
/// Returns the error of a Result<> expression from the enclosing function.
#define MVM_TRY(expression)                                                                \
  do {                                                                                     \
    if (auto mvm_status = (expression); !mvm_status) return std::move(mvm_status).error(); \
  } while (false)

/// Declares `declaration` from the value of a Result<> expression or returns its error.
#define MVM_ASSIGN(declaration, expression) \
  MVM_ASSIGN_INNER(MVM_CONCAT(mvm_result_, __LINE__), declaration, expression)
#define MVM_ASSIGN_INNER(result, declaration, expression) \
  auto result = (expression);                             \
  if (!result) return std::move(result).error();          \
  declaration = std::move(*result)
// NOLINTEND(bugprone-macro-parentheses)
