#pragma once
// HostAgent's structs as JSON: for records on disk and for calls between broker and host.

#include <nlohmann/json.hpp>

#include "mvm/base/result.h"
#include "mvm/host/host_agent.h"

namespace mvm::host {

[[nodiscard]] nlohmann::json to_json(const HostInfo& info);
[[nodiscard]] nlohmann::json to_json(const LinkIdentity& identity);
[[nodiscard]] nlohmann::json to_json(const LabSpec& spec);
[[nodiscard]] nlohmann::json to_json(const LabInfo& info);
[[nodiscard]] nlohmann::json to_json(const NodeSpec& spec);
[[nodiscard]] nlohmann::json to_json(const NodeInfo& info);
[[nodiscard]] nlohmann::json to_json(const Inventory& inventory);
/// The events' blobs, one after the other, are appended to `blobs`.
[[nodiscard]] nlohmann::json to_json(const HostEvents& page, std::string& blobs);

/// kCorrupt where a field is missing or has another type.
[[nodiscard]] Result<HostInfo> host_info_from(const nlohmann::json& json);
[[nodiscard]] Result<LinkIdentity> link_identity_from(const nlohmann::json& json);
[[nodiscard]] Result<LabSpec> lab_spec_from(const nlohmann::json& json);
[[nodiscard]] Result<LabInfo> lab_info_from(const nlohmann::json& json);
[[nodiscard]] Result<NodeSpec> node_spec_from(const nlohmann::json& json);
[[nodiscard]] Result<NodeInfo> node_info_from(const nlohmann::json& json);
[[nodiscard]] Result<Inventory> inventory_from(const nlohmann::json& json);
[[nodiscard]] Result<HostEvents> host_events_from(const nlohmann::json& json, std::string_view blobs);

}  // namespace mvm::host
