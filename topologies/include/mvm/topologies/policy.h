#pragma once
// Which component makes a decision, as a policy file names it (docs/formats/policy.md) [Kim et al. 2006,
// §3.3].

#include <map>
#include <string>
#include <string_view>

namespace mvm::topologies {

enum class PolicyLevel { kInterDomain, kDomain, kNode };
[[nodiscard]] std::string_view to_string(PolicyLevel level);

struct Policy {
  std::string name;
  PolicyLevel level = PolicyLevel::kDomain;
  std::string kind;       ///< "placement", "order", "reservation", "monitoring", "checkpoint", "recovery",
                          ///< "access", "links"
  std::string component;  ///< e.g. "placement-pack"
  std::map<std::string, std::string> options;
  bool operator==(const Policy&) const = default;
};

}  // namespace mvm::topologies
