#pragma once
// Kernels as a command line names them: for all verbs that reach into nodes.

#include <string>

#include "mvm/soap/kernel_api.h"
#include "session.h"

namespace mvm::cli {

/// The lab's id, of a lab or of a job.
[[nodiscard]] Result<std::string> resolve_lab_or_job(Session& session, const std::string& text);

/// The node that NODE or LAB/NODE names; LAB is `lab` itself, or what the user called it. kInvalid: another
/// lab's; `what` cannot be of two labs.
[[nodiscard]] Result<std::string> node_of_lab(const std::string& text, const std::string& lab,
                                              const std::string& called, const char* what);

/// "all" (of the only lab there is), LAB or JOB (all of its kernels), NODE, LAB/NODE, JOB/NODE, and several
/// of these with commas between: kernels of one lab. kInvalid, kNotFound.
[[nodiscard]] Result<soap::KernelTargets> resolve_targets(Session& session, const std::string& text);

/// [LAB|JOB] [NODE] as they stand behind a verb: both empty: all that the caller may see.
[[nodiscard]] Result<soap::KernelTargets> resolve_scope(Session& session, const std::string& scope,
                                                        const std::string& node);

}  // namespace mvm::cli
