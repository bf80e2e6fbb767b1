#pragma once
// The codecs that a topology or a policy may name. The components themselves are registered in queuevm.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/topologies/diagnostic.h"

namespace mvm::topologies {

inline constexpr std::size_t kMaxCodecs = 8;  ///< of one link

/// "checksum", "encrypt", "neutral", "zstd".
[[nodiscard]] const std::vector<std::string>& codec_names();

/// "zstd" of "zstd:3".
[[nodiscard]] std::string_view codec_name(std::string_view codec);

/// What is wrong with "zsdt" or "zstd:40", with a near miss; none where it is good.
struct CodecFault {
  std::string message, suggestion;
};
[[nodiscard]] std::optional<CodecFault> check_codec(std::string_view codec);

/// The same for all of a chain: also too many of them, and one that occurs twice.
[[nodiscard]] std::optional<CodecFault> check_codecs(const std::vector<std::string>& codecs);

/// True where the chain has one that needs the link's key.
[[nodiscard]] bool needs_key(const std::vector<std::string>& codecs);

/// "zstd:3 encrypt"
[[nodiscard]] std::string codecs_text(const std::vector<std::string>& codecs);

}  // namespace mvm::topologies
