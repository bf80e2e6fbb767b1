#pragma once
// What lab apply, link connect, link disconnect and link set share: a running job gets another wiring.

#include <memory>
#include <string>

#include "grammar.h"
#include "profile_file.h"

namespace mvm::cli {

/// --deadline TIME, --dry-run
struct RewireOptions {
  std::string deadline = "30s";
  bool dry_run = false;
};
void add_rewire_options(CLI::App& verb, RewireOptions& options);

/// Asks for the wiring, waits until every domain has it, and says what became of it. kAborted where it was
/// undone: the old wiring is in place then.
Result<int> rewire(Session& session, soap::RewireRequest request, const RewireOptions& options);

/// Gives the job, or the one that runs in the lab, the topology of a file.
Result<int> apply_topology(Session& session, const std::string& target, const FileOptions& file,
                           const RewireOptions& options);

}  // namespace mvm::cli
