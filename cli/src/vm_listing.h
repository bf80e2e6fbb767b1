#pragma once
// VMs and links as tables and JSON show them.

#include <string>
#include <vector>

#include "listing.h"
#include "mvm/soap/broker_api.h"

namespace mvm::cli {

[[nodiscard]] Json vm_json(const soap::VmView& vm);
[[nodiscard]] Listing vm_listing(const std::vector<soap::VmView>& vms);
[[nodiscard]] Json link_json(const soap::LinkView& link);
/// "tcp", "tcp forced": what a link has, and whether the topology says so.
[[nodiscard]] std::string transport_text(const std::string& transport, const std::string& forced);
[[nodiscard]] Listing link_listing(const std::vector<soap::LinkView>& links);

}  // namespace mvm::cli
