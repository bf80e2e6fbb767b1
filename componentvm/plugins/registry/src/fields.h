#pragma once
// The registry's words as fields of operations. docs/formats/registry.md.

#include <nlohmann/json.hpp>

#include "mvm/registry/registry.h"

namespace mvm::plugins::registry {

/// "multiple", "anyone", ... as bits. kInvalid.
[[nodiscard]] Result<std::uint32_t> flags_of(const nlohmann::json& args, std::uint32_t allowed);
[[nodiscard]] nlohmann::json to_json(const mvm::registry::Info& info);
[[nodiscard]] nlohmann::json to_json(const mvm::registry::Listing& listing);
/// Items of at most 64 KiB are in it as base64, as long as all of them are not more than 512 KiB.
[[nodiscard]] nlohmann::json to_json(const mvm::registry::Events& events, bool items);

}  // namespace mvm::plugins::registry
