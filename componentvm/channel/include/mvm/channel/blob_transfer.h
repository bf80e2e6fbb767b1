#pragma once
// Blobs over the guest channel: in pieces, resumed where they broke, verified at the end.

#include <chrono>
#include <string>

#include "mvm/base/blob_store.h"
#include "mvm/channel/host_end.h"

namespace mvm::channel {

/// Makes sure that the node has this blob of the store. kNotFound where the store has not. `timeout` is for
/// each piece. Blocks; any thread.
[[nodiscard]] Status send_blob(HostEnd& node, const BlobStore& store, const std::string& digest,
                               std::chrono::milliseconds timeout);

/// Brings a blob of the node into the store; kExhausted where it is larger than `limit` bytes, kCorrupt where
/// the node sent other bytes than the digest's. No error, and nothing is sent, where the store has it.
[[nodiscard]] Status fetch_blob(HostEnd& node, const BlobStore& store, const std::string& digest,
                                std::uint64_t limit, std::chrono::milliseconds timeout);

}  // namespace mvm::channel
