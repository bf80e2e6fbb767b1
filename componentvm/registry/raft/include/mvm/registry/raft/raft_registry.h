#pragma once
// The replicated provider of the registry: every member of a group holds all of it, libraft orders the
// updates (mvm/replica/replica.h). It survives as its group does: while a majority lives, and by confirmed
// deaths down to the last member.

#include <memory>

#include "mvm/base/clock.h"
#include "mvm/registry/registry.h"
#include "mvm/replica/replica.h"

namespace mvm::registry {

/// One member's view. Updates asked for anywhere are ordered by the leader; reads and listings see all that
/// was acknowledged before, wherever. Leases are counted by every member and ended by the leader: a new
/// leader gives them the time it counted itself.
class RaftRegistry : public Registry {
 public:
  /// For bootstrap, join, deaths, leaving. It lives as long as this.
  [[nodiscard]] virtual replica::Replica& replica() = 0;
};

/// `options.limits` of commands, results and snapshots are raised to what the registry's own limits need. The
/// callbacks may be empty.
[[nodiscard]] Result<std::unique_ptr<RaftRegistry>> open_raft_registry(replica::Options options,
                                                                       replica::Callbacks callbacks,
                                                                       Clock& clock);

}  // namespace mvm::registry
