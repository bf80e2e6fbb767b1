#pragma once
// The codecs that come with MVM: docs/formats/codecs.md.

#include "mvm/queuevm/codec.h"

namespace mvm::queuevm::codecs {

/// Adds checksum, encrypt, neutral and zstd. kExists where one of them is there already.
Status register_builtin(CodecRegistry& registry);

/// A registry with these.
[[nodiscard]] std::shared_ptr<const CodecRegistry> builtin();

}  // namespace mvm::queuevm::codecs
