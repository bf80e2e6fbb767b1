#pragma once
// One process of a wire step, and what it is called.

#include <nlohmann/json.hpp>

#include "mvm/broker/wiring_plan.h"

namespace mvm::broker {

[[nodiscard]] nlohmann::json process_entry(const Wired& wired, const WiringContext& context,
                                           const nlohmann::json& parameters, topologies::ProcessId process);
[[nodiscard]] nlohmann::json parting_entry(const Wired& wired, const WiringContext& context,
                                           const nlohmann::json& parameters, const PartingProcess& process);
/// A process of this wiring that the next one does without.
[[nodiscard]] PartingProcess make_parting(const Wired& wired, topologies::ProcessId process);

}  // namespace mvm::broker
