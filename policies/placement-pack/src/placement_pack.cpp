// SPDX-License-Identifier: Apache-2.0
// Fills one host after the other, the most used first, so that empty hosts stay empty.

#include <algorithm>
#include <numeric>

#include "mvm/policy.hpp"

namespace {

std::int64_t decide(void*, const void* snapshot, std::uint64_t size, void* plan, std::uint64_t room) {
  const auto question = mvm::policy::Placement::read(snapshot, size);
  if (!question) return -1;
  std::vector<mvm_placement_host> hosts(question->hosts.begin(), question->hosts.end());
  std::vector<std::uint32_t> host_of;
  for (const auto& set : question->sets) {
    const auto candidates = question->candidates_of(set);
    std::vector<std::uint32_t> order(candidates.begin(), candidates.end());
    const auto used = [&](std::uint32_t h) {
      const auto& host = question->hosts[h];
      return host.milli_vcpus_all - std::min(host.milli_vcpus, host.milli_vcpus_all);
    };
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return used(a) > used(b); });
    std::size_t at = 0;
    for (std::uint32_t k = 0; k < set.count; ++k) {
      while (at < order.size() &&
             (hosts[order[at]].milli_vcpus < set.milli_vcpus || hosts[order[at]].memory < set.memory))
        ++at;
      if (at == order.size()) return mvm::policy::write_placement(false, MVM_LAYOUT_BLOCK, {}, plan, room);
      hosts[order[at]].milli_vcpus -= set.milli_vcpus;
      hosts[order[at]].memory -= set.memory;
      host_of.push_back(order[at]);
    }
  }
  return mvm::policy::write_placement(true, MVM_LAYOUT_BLOCK, host_of, plan, room);
}

int state;
void* create(const char*) { return &state; }
void destroy(void*) {}

}  // namespace

extern "C" const mvm_policy_descriptor mvm_policy = {sizeof(mvm_policy_descriptor),
                                                     MVM_POLICY_API,
                                                     MVM_POLICY_ABI,
                                                     MVM_POLICY_PLACEMENT,
                                                     "placement-pack",
                                                     "1.0.0",
                                                     nullptr,
                                                     nullptr,
                                                     &create,
                                                     &destroy,
                                                     &decide};
