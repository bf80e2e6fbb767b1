#pragma once
// A kernel's part in commands: it holds what it is able and willing to do, answers, and does what was
// decided.
//
// It looks at what the status says, never at single messages: whatever was missed is found at the next look.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/unique_fd.h"
#include "mvm/dvm/commit_table.h"
#include "mvm/dvm/status.h"

namespace mvm::dvm {

/// Of one event loop's thread; the kernel's operations run elsewhere.
class Participant {
 public:
  struct Hooks {
    /// An operation of the kernel; blocks.
    std::function<Result<nlohmann::json>(const std::string& op, const nlohmann::json& args)> call;
    /// Runs something where it may block.
    std::function<void(std::function<void()>)> work;
    /// Runs something on the loop; never after the participant is gone.
    std::function<void(std::function<void()>)> post;
    /// To the status server, if there is one.
    std::function<void(const nlohmann::json& message)> send;
    /// The command as the status has it now; null where it has none.
    std::function<const Command*(const std::string& id)> find;
    /// This kernel in the status; null where it is not there.
    std::function<const Member*()> self;
  };
  struct Options {
    std::string kernel;
    std::filesystem::path journal;       ///< file of what was held and begun
    std::vector<std::string> unwilling;  ///< plug-ins that this kernel's owner does not want here
  };
  [[nodiscard]] static Result<std::unique_ptr<Participant>> open(Options options, Hooks hooks,
                                                                 const CrashPoint& crash);

  /// A command is new, or has changed, or somebody has to be told again.
  void look_at(const Command& command);
  /// Everything is looked at again.
  void look_at_all(const VmStatus& status);
  /// The kernel has what the status had for it as of that event. What failed of it: "load NAME" or
  /// "unload NAME", and why.
  void restored(std::map<std::string, std::string> failed, std::uint64_t number);

 private:
  enum class State { kPreparing, kAble, kUnable, kCarrying, kUndoing, kDone };
  struct Work {
    State state = State::kPreparing;
    std::string reason;    // unable, or failed
    std::string changing;  // the plug-in that it loads or unloads; empty once that is done
    bool nothing = false;  // it is loaded already
  };
  Participant(Options options, Hooks hooks, const CrashPoint& crash);
  Status read_journal();
  void note(const std::string& id, const char* step);
  void prepare(const Command& command);
  void prepared(const std::string& id, const std::string& reason);
  void vote(const std::string& id);
  void carry_out(const Command& command);
  void undo(const std::string& id);
  void acknowledge(const std::string& id);
  void done(const std::string& id, std::string reason);
  [[nodiscard]] std::string why_not(const Command& command) const;

  Options options_;
  Hooks hooks_;
  const CrashPoint& crash_;
  UniqueFd journal_;
  std::map<std::string, std::string> former_;  // last step noted by former processes of this kernel: of runs
  std::map<std::string, Work> works_;
  std::map<std::string, std::string> not_restored_;
  std::uint64_t restored_at_ = 0;
};

}  // namespace mvm::dvm
