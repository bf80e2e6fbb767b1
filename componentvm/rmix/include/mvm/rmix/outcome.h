// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a call ends: with its result, with an exception that the service declared, or with a failure that says
// whether the method ran. docs/formats/rmix.md, "Outcomes". [Harness 004, sl. 19]

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mvm/base/error.h"
#include "mvm/rmix/value.h"

namespace mvm::rmix {

/// Whether a method ran where its call failed.
enum class Fate {
  kNotRun,   ///< it did not, and will not
  kRan,      ///< it did, to its end; what it answered is lost, or was undeclared
  kUnknown,  ///< it may have run, may be running, and may run yet
};
[[nodiscard]] std::string_view to_string(Fate fate);  ///< "not-run", "ran", "unknown"
[[nodiscard]] std::optional<Fate> fate_from(std::string_view text);

/// A declared exception.
struct Exception {
  std::string name;
  std::vector<Value> fields;
};

/// Not the service's own words: the way to it, a refusal, a deadline, a cancellation, a broken method.
struct Failure {
  Error error;
  Fate fate = Fate::kUnknown;
};

/// What providers carry back.
using Outcome = std::variant<Value, Exception, Failure>;

[[nodiscard]] inline Outcome failed(ErrorCode code, std::string message, Fate fate) {
  return Failure{Error(code, std::move(message)), fate};
}

}  // namespace mvm::rmix
