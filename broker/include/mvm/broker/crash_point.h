#pragma once
// Crash points: places where the broker can be told to die, generated from the tables of effects and
// transitions.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::broker {

/// All places, as `crash_at` takes them: "boot-nodes:before", "PLANNED>BUILDING:committed", ...
[[nodiscard]] std::vector<std::string> list_crash_points();

/// Counts passes through one place and dies there. Passing costs a comparison where none is armed.
class CrashPoints {
 public:
  using Death = std::function<void()>;
  CrashPoints() = default;
  /// `where` is "NAME:PHASE" or "NAME:PHASE:N" (the N-th pass, 1-based), or "none", which dies nowhere and
  /// logs each place that is passed as `crash.passed`. kInvalid unless list_crash_points() has it. `death`
  /// ends the process (the default: SIGKILL to itself).
  [[nodiscard]] static Result<CrashPoints> parse(std::string_view where, Death death = {});
  /// Passes a place; does not return where it is the armed one.
  void pass(std::string_view name, std::string_view phase);

 private:
  std::string armed_;
  unsigned remaining_ = 0;
  bool told_ = false;
  Death death_;
};

}  // namespace mvm::broker
