#pragma once
// The rules of locators as the kernel tells them to its plug-ins (operation kernel.locators).

#include <nlohmann/json_fwd.hpp>

#include "mvm/base/result.h"
#include "mvm/repository/fetcher.h"

namespace mvm::repository {

[[nodiscard]] Result<LocatorRules> rules_from(const nlohmann::json& object);

}  // namespace mvm::repository
