#pragma once
// Two-phase commit of one command, as a table: (Phase, Happening) -> (Phase, Effects). [Harness 000, §2.3]
//
// Who decides is the status server; what it has decided is an entry of the replicated log, so a decision that
// was once seen by anybody is never another one.

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::dvm {

/// How far a command is.
enum class Phase {
  kNew,        ///< asked for, not on record
  kPreparing,  ///< on record; kernels are asked whether they are able and willing
  kCommitted,  ///< decided: those that are able carry it out
  kAborted,    ///< decided: nobody carries it out
  kFinished,   ///< every kernel that is there has acknowledged the decision
};

/// What happens to a command.
enum class Happening {
  kBegun,         ///< its record is durable
  kAble,          ///< enough kernels are able: all (all-or-none), at least one (best-effort)
  kUnable,        ///< too few are
  kCommit,        ///< the decision to commit is durable
  kAbort,         ///< the decision to abort is durable
  kAcknowledged,  ///< by all that are there
};

/// What the status server does then. Each may be repeated.
enum class Effect {
  kPrepare,       ///< ask the kernels
  kDecideCommit,  ///< propose the decision
  kDecideAbort,
  kTell,    ///< tell the kernels the decision, until they acknowledge it
  kFinish,  ///< put its end on record
  kAnswer,  ///< answer whoever asked
};

struct Step {
  Phase from;
  Happening happening;
  Phase to;
  std::array<Effect, 2> effects;
  std::size_t count;
};

/// All rows; what is not among them is no step.
[[nodiscard]] std::span<const Step> commit_steps();
/// The row, or null: the happening is late or a repetition, and changes nothing.
[[nodiscard]] const Step* commit_step(Phase phase, Happening happening);

[[nodiscard]] std::string_view to_string(Phase phase);
[[nodiscard]] std::string_view to_string(Effect effect);
[[nodiscard]] Result<Phase> phase_from(std::string_view text);

/// Whether a command succeeds only on all its kernels, or on any.
enum class Qos { kAllOrNone, kBestEffort };

/// Where a poll of the kernels stands.
struct Poll {
  std::size_t asked = 0;
  std::size_t able = 0;
  std::size_t unable = 0;
  bool late = false;  ///< the deadline passed: who has not answered counts as unable
};

/// kAble or kUnable once everybody has answered, so that the answer can name all; `certain` is false before.
struct Outcome {
  bool certain = false;
  Happening happening = Happening::kUnable;
};
[[nodiscard]] Outcome outcome(Qos qos, const Poll& poll);

/// Places where a kernel or the status server can be told to die, generated from the table and the kernels'
/// own steps: "prepare:before", "decide-commit:after", "vote:before", ...
[[nodiscard]] std::vector<std::string> list_crash_points();

/// Dies at one of them, by SIGKILL to itself; costs a comparison where none is armed.
class CrashPoint {
 public:
  CrashPoint() = default;
  /// kInvalid unless list_crash_points() has it or it is empty.
  [[nodiscard]] static Result<CrashPoint> parse(std::string_view where);
  void pass(std::string_view name, std::string_view phase) const;

 private:
  std::string armed_;
};

}  // namespace mvm::dvm
