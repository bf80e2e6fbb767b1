#pragma once
// A program's sources as one tree in the blob store. Thread-safe; blocks.

#include <string>

#include "mvm/base/blob_store.h"
#include "mvm/base/result.h"
#include "mvm/topologies/profile.h"

namespace mvm::broker {

/// The digest of an archive with all of the program's sources, laid over each other in their order; empty
/// where it has none. The same sources give the same digest. kNotFound where a blob is missing, kInvalid
/// where a source is a path (clients replace paths by digests), kCorrupt where an archive is hostile.
[[nodiscard]] Result<std::string> source_tree(const BlobStore& blobs, const topologies::Program& program);

}  // namespace mvm::broker
