#pragma once
// The provider's policy: who may deploy, control, wire and call which pluglets. [004, sl. 12]

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::pluglets {

/// Who asks.
struct Actor {
  bool provider = false;        ///< the kernel's own: may everything
  std::set<std::string> names;  ///< "user:ada", "role:admin", "certificate:bob", "uid:1000"
  /// For logs and owners: the first name, "provider" or "somebody".
  [[nodiscard]] std::string text() const;
};

/// docs/formats/pluglets.md, "Policy". What no rule allows is refused. Immutable.
class Policy {
 public:
  /// Nobody but the provider may do anything.
  Policy() = default;
  /// kInvalid, with what is wrong. At most 1 MiB, 1,000 rules.
  [[nodiscard]] static Result<Policy> read(const std::string& text);

  /// `what`: "deploy", "start", "stop", "suspend", "resume", "destroy", "connect", "call", "look"; `pluglet`:
  /// its id, or, before there is one, its type; `owner`: text() of who deployed it. kRefused.
  [[nodiscard]] Status may(const Actor& actor, std::string_view what, const std::string& pluglet,
                           const std::string& owner) const;
  /// The user that a token stands for; empty: nobody.
  [[nodiscard]] std::string user_of(const std::string& token) const;

 private:
  struct Rule {
    std::vector<std::string> who, may, pluglets;
  };
  std::vector<Rule> rules_;
  std::map<std::string, std::string> tokens_;  // SHA-256 of a token: its user
};

}  // namespace mvm::pluglets
