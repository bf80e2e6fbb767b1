#pragma once
// The command line as a function.

#include <string>
#include <vector>

#include "mvm/cli/context.h"

namespace mvm::cli {

/// Exit codes of every verb.
enum ExitCode : int {
  kDone = 0,
  kOperationFailed = 1,  ///< the operation or the job failed
  kBadInput = 2,         ///< bad usage or invalid file
  kNotPlaceable = 3,     ///< accepted, but cannot be placed now
  kPartly = 4,           ///< best effort succeeded in part
  kAllAborted = 5,       ///< all-or-none aborted
  kNoBroker = 6,         ///< broker not reachable
  kRefusedByPolicy = 7,
  kDetached = 130,  ///< Ctrl-C while waiting: the job goes on
};

/// Runs one command; `args` without the program's name. Returns the exit code. Results go to context.out,
/// all else to context.err. Call it on one thread.
[[nodiscard]] int run(Context& context, const std::vector<std::string>& args);

/// One verb with what it takes, for documents and completion.
struct VerbInfo {
  std::string path;  ///< "job list"
  std::string about;
  std::vector<std::string> flags;  ///< "--follow", ...
};

/// Every verb, in the order of the help.
[[nodiscard]] std::vector<VerbInfo> verbs();

}  // namespace mvm::cli
