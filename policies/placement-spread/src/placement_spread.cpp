// SPDX-License-Identifier: Apache-2.0
// Puts each node on the host with most processor time free, and neighbouring processes on different nodes.

#include <algorithm>

#include "mvm/policy.hpp"

namespace {

std::int64_t decide(void*, const void* snapshot, std::uint64_t size, void* plan, std::uint64_t room) {
  const auto question = mvm::policy::Placement::read(snapshot, size);
  if (!question) return -1;
  std::vector<mvm_placement_host> hosts(question->hosts.begin(), question->hosts.end());
  std::vector<std::uint32_t> host_of;
  for (const auto& set : question->sets) {
    const auto fits = [&](std::uint32_t h) {
      return hosts[h].milli_vcpus >= set.milli_vcpus && hosts[h].memory >= set.memory;
    };
    // The roomiest on top; equal ones in the order of their numbers.
    const auto less = [&](std::uint32_t a, std::uint32_t b) {
      return hosts[a].milli_vcpus != hosts[b].milli_vcpus ? hosts[a].milli_vcpus < hosts[b].milli_vcpus
                                                          : a > b;
    };
    std::vector<std::uint32_t> heap;
    for (const auto h : question->candidates_of(set))
      if (fits(h)) heap.push_back(h);
    std::make_heap(heap.begin(), heap.end(), less);
    for (std::uint32_t k = 0; k < set.count; ++k) {
      if (heap.empty()) return mvm::policy::write_placement(false, MVM_LAYOUT_CYCLIC, {}, plan, room);
      std::pop_heap(heap.begin(), heap.end(), less);
      const auto host = heap.back();
      hosts[host].milli_vcpus -= set.milli_vcpus;
      hosts[host].memory -= set.memory;
      host_of.push_back(host);
      if (fits(host))
        std::push_heap(heap.begin(), heap.end(), less);
      else
        heap.pop_back();
    }
  }
  return mvm::policy::write_placement(true, MVM_LAYOUT_CYCLIC, host_of, plan, room);
}

int state;
void* create(const char*) { return &state; }
void destroy(void*) {}

}  // namespace

extern "C" const mvm_policy_descriptor mvm_policy = {sizeof(mvm_policy_descriptor),
                                                     MVM_POLICY_API,
                                                     MVM_POLICY_ABI,
                                                     MVM_POLICY_PLACEMENT,
                                                     "placement-spread",
                                                     "1.0.0",
                                                     nullptr,
                                                     nullptr,
                                                     &create,
                                                     &destroy,
                                                     &decide};
