#pragma once
// A submitted profile, read and checked before anything is stored.

#include <memory>
#include <string>
#include <vector>

#include "core.h"
#include "mvm/topologies/profile.h"
#include "mvm/topologies/reader.h"

namespace mvm::broker {

/// All faults of a submitted file as the services give them.
[[nodiscard]] std::vector<soap::Diagnostic> to_soap(const std::vector<topologies::Diagnostic>& diagnostics);

struct ReadSubmission {
  std::shared_ptr<const topologies::Profile> profile;  ///< null: see diagnostics
  std::vector<topologies::Diagnostic> diagnostics;
};
/// Reads with the one reader; opens no path of the client's.
[[nodiscard]] ReadSubmission read_submission(const soap::SubmitRequest& request);

/// Bounds, and that it can run as a job: programs, digests in the store, machines for every role.
[[nodiscard]] Status check_job(const topologies::Profile& profile, const BrokerLimits& limits,
                               const BlobStore& blobs, bool in_lab);

}  // namespace mvm::broker
