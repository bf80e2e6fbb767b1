#pragma once
// One factory for each codec.

#include "mvm/queuevm/codec.h"

namespace mvm::queuevm::codecs {

[[nodiscard]] Result<std::unique_ptr<Codec>> make_checksum(const CodecSetup& setup);
[[nodiscard]] Result<std::unique_ptr<Codec>> make_encrypt(const CodecSetup& setup);
[[nodiscard]] Result<std::unique_ptr<Codec>> make_neutral(const CodecSetup& setup);
[[nodiscard]] Result<std::unique_ptr<Codec>> make_zstd(const CodecSetup& setup);

/// What all say of bytes that are no encoding.
[[nodiscard]] inline Error corrupt(const char* what) { return {ErrorCode::kCorrupt, what}; }
[[nodiscard]] inline Error no_such_option(std::string_view option, const char* expected) {
  return {ErrorCode::kInvalid, "found option '" + std::string(option) + "', expected " + expected};
}

}  // namespace mvm::queuevm::codecs
