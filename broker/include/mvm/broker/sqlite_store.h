#pragma once
// The embedded provider of the store: SQLite, in process.

#include <filesystem>
#include <memory>

#include "mvm/base/clock.h"
#include "mvm/broker/store.h"

namespace mvm::broker {

/// Opens or makes the database (mode 0600): write-ahead log, synchronous FULL. One process at a time:
/// kConflict where another one has it open. kCorrupt where it is no store of ours. Leases end by `clock`,
/// looked at by every call. `clock` outlives the store.
[[nodiscard]] Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& file,
                                                               Clock& clock);

}  // namespace mvm::broker
