// SPDX-License-Identifier: Apache-2.0
// Adds codecs to links by how far they go. Options:
//   between-hosts=CODECS     for links that leave a host
//   between-domains=CODECS   for links that leave a memory domain, those between hosts included
//   links=NAMES              for these alone: a link's name, or that of all of a pattern ("ring" of
//   "ring[3]")

#include <algorithm>

#include "mvm/policy.hpp"

namespace {

struct Rules {
  std::string between_hosts;
  std::string between_domains;
  std::string names;  // " plain ring "; empty: all
};

bool named(const Rules& rules, std::string_view name) {
  const auto has = [&](std::string_view wanted) {
    return rules.names.find(" " + std::string(wanted) + " ") != std::string::npos;
  };
  return rules.names.empty() || has(name) || has(name.substr(0, name.rfind('[')));
}

std::int64_t decide(void* self, const void* snapshot, std::uint64_t size, void* plan, std::uint64_t room) {
  const auto& rules = *static_cast<const Rules*>(self);
  const auto question = mvm::policy::Links::read(snapshot, size);
  if (!question) return -1;
  const std::string far =
      rules.between_hosts + (rules.between_hosts.empty() ? "" : " ") + rules.between_domains;
  const std::vector<std::string> chains = {rules.between_domains, far};
  std::vector<std::uint32_t> chain_of;
  for (const auto& link : question->links)
    chain_of.push_back(!named(rules, question->name(link)) ? 0 : link.leaves == MVM_LEAVES_HOST ? 2 : 1);
  return mvm::policy::write_links(chain_of, chains, plan, room);
}

void* create(const char* options) {
  std::string names = mvm::policy::option(options, "links");
  if (!names.empty()) names = " " + names + " ";
  return new Rules{mvm::policy::option(options, "between-hosts"),
                   mvm::policy::option(options, "between-domains"), std::move(names)};
}
void destroy(void* self) { delete static_cast<Rules*>(self); }

}  // namespace

extern "C" const mvm_policy_descriptor mvm_policy = {sizeof(mvm_policy_descriptor),
                                                     MVM_POLICY_API,
                                                     MVM_POLICY_ABI,
                                                     MVM_POLICY_LINKS,
                                                     "links-codecs",
                                                     "1.0.0",
                                                     nullptr,
                                                     nullptr,
                                                     &create,
                                                     &destroy,
                                                     &decide};
