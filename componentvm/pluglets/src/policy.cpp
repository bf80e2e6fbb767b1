#include "mvm/pluglets/policy.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "mvm/base/digest.h"
#include "mvm/base/json.h"

namespace mvm::pluglets {
namespace {

using nlohmann::json;

constexpr std::size_t kLargest = 1 << 20;
constexpr std::size_t kMostRules = 1000;
constexpr std::size_t kMostWords = 1000;
constexpr std::array kWords{"deploy",  "start",   "stop", "suspend", "resume",
                            "destroy", "connect", "call", "look",    "all"};

bool holds(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

/// "quotes*": begins so.
bool matches(const std::string& pattern, const std::string& name) {
  if (!pattern.ends_with('*')) return pattern == name;
  return name.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
}

bool good_who(const std::string& who) {
  if (who == "anyone" || who == "owner") return true;
  for (const std::string_view kind : {"user:", "role:", "certificate:", "uid:"})
    if (who.starts_with(kind) && who.size() > kind.size()) return true;
  return false;
}

}  // namespace

std::string Actor::text() const {
  if (provider) return "provider";
  return names.empty() ? "somebody" : *names.rbegin();
}

Result<Policy> Policy::read(const std::string& text) {
  if (text.size() > kLargest) return Error(ErrorCode::kExhausted, "a policy has at most 1 MiB");
  const json whole = json::parse(text, nullptr, false);
  if (!whole.is_object()) return Error(ErrorCode::kInvalid, "the policy of pluglets: found no JSON object");
  for (const auto& [key, value] : whole.items())
    if (key != "rules" && key != "tokens")
      return Error(ErrorCode::kInvalid,
                   "the policy of pluglets: found \"" + key.substr(0, 40) + "\", expected rules or tokens");
  Policy policy;
  const json& rules = array_or_empty(whole, "rules");
  if (rules.size() > kMostRules) return Error(ErrorCode::kExhausted, "a policy has at most 1,000 rules");
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const std::string where = "rule " + std::to_string(i + 1) + ": ";
    Rule rule;
    MVM_ASSIGN(rule.who, texts_of(rules[i], "who", kMostWords, 300));
    MVM_ASSIGN(rule.may, texts_of(rules[i], "may", kMostWords, 300));
    MVM_ASSIGN(rule.pluglets, texts_of(rules[i], "pluglets", kMostWords, 300));
    if (rule.who.empty() || rule.may.empty() || rule.pluglets.empty())
      return Error(ErrorCode::kInvalid,
                   where + "expected who, may and pluglets, each a list that is not empty");
    for (const std::string& who : rule.who)
      if (!good_who(who))
        return Error(ErrorCode::kInvalid,
                     where + "found who \"" + who.substr(0, 40) +
                         "\", expected user:NAME, role:NAME, certificate:NAME, uid:NUMBER, "
                         "owner or anyone");
    for (const std::string& may : rule.may)
      if (std::find(kWords.begin(), kWords.end(), may) == kWords.end())
        return Error(ErrorCode::kInvalid, where + "found may \"" + may.substr(0, 40) +
                                              "\", expected deploy, start, stop, suspend, resume, destroy, "
                                              "connect, call, look or all");
    policy.rules_.push_back(std::move(rule));
  }
  MVM_ASSIGN(const auto tokens, text_map_of(whole, "tokens", kMostRules, 300));
  for (const auto& [digest, user] : tokens) {
    if (!is_sha256(digest))
      return Error(ErrorCode::kInvalid,
                   "tokens: found \"" + digest.substr(0, 20) + "\", expected the SHA-256 of a token");
    policy.tokens_[digest] = user;
  }
  return policy;
}

Status Policy::may(const Actor& actor, std::string_view what, const std::string& pluglet,
                   const std::string& owner) const {
  if (actor.provider) return ok();
  for (const Rule& rule : rules_) {
    const bool who = std::any_of(rule.who.begin(), rule.who.end(), [&](const std::string& one) {
      return one == "anyone" || actor.names.contains(one) ||
             (one == "owner" && !actor.names.empty() && owner == actor.text());
    });
    if (!who || (!holds(rule.may, what) && !holds(rule.may, "all"))) continue;
    if (std::any_of(rule.pluglets.begin(), rule.pluglets.end(),
                    [&](const std::string& pattern) { return matches(pattern, pluglet); }))
      return ok();
  }
  return Error(ErrorCode::kRefused,
               actor.text() + " may not " + std::string(what) + " " + pluglet.substr(0, 80) + " here");
}

std::string Policy::user_of(const std::string& token) const {
  if (token.empty()) return {};
  const auto found = tokens_.find(sha256_hex(token));
  return found == tokens_.end() ? std::string() : found->second;
}

}  // namespace mvm::pluglets
