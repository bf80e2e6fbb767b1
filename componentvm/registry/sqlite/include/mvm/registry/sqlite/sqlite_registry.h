#pragma once
// The embedded provider of the registry: in process, durable in one SQLite file.

#include <filesystem>
#include <memory>

#include "mvm/base/clock.h"
#include "mvm/registry/registry.h"

namespace mvm::registry {

/// Opens or makes a registry. Updates that come at the same time share one wait for the disk. Leases get
/// their whole term again when it is opened; watches go on over that as far back as the file's log goes.
/// kConflict: another process has it open; kCorrupt: the file is something else.
[[nodiscard]] Result<std::unique_ptr<Registry>> open_sqlite_registry(const std::filesystem::path& file,
                                                                     Clock& clock);

}  // namespace mvm::registry
