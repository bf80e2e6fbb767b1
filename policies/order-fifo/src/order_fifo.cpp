// SPDX-License-Identifier: Apache-2.0
// First come, first served: nobody overtakes. What was interrupted by a fault keeps its place.

#include <algorithm>
#include <numeric>

#include "mvm/policy.hpp"

namespace {

std::int64_t decide(void*, const void* snapshot, std::uint64_t size, void* plan, std::uint64_t room) {
  const auto question = mvm::policy::Order::read(snapshot, size);
  if (!question) return -1;
  std::vector<std::uint32_t> order(question->jobs.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return question->jobs[a].number < question->jobs[b].number; });
  return mvm::policy::write_order(true, order, plan, room);
}

int state;
void* create(const char*) { return &state; }
void destroy(void*) {}

}  // namespace

extern "C" const mvm_policy_descriptor mvm_policy = {sizeof(mvm_policy_descriptor),
                                                     MVM_POLICY_API,
                                                     MVM_POLICY_ABI,
                                                     MVM_POLICY_ORDER,
                                                     "order-fifo",
                                                     "1.0.0",
                                                     nullptr,
                                                     nullptr,
                                                     &create,
                                                     &destroy,
                                                     &decide};
