// SPDX-License-Identifier: Apache-2.0
// Users take turns: next is the oldest job of whoever holds least, counting what was given to him in this
// pass. Smaller jobs may overtake larger ones that find no room.

#include <algorithm>
#include <deque>
#include <numeric>
#include <queue>

#include "mvm/policy.hpp"

namespace {

std::int64_t decide(void*, const void* snapshot, std::uint64_t size, void* plan, std::uint64_t room) {
  const auto question = mvm::policy::Order::read(snapshot, size);
  if (!question) return -1;
  std::vector<std::uint32_t> oldest(question->jobs.size());
  std::iota(oldest.begin(), oldest.end(), 0U);
  std::stable_sort(oldest.begin(), oldest.end(),
                   [&](auto a, auto b) { return question->jobs[a].number < question->jobs[b].number; });
  std::vector<std::deque<std::uint32_t>> waiting(question->users.size());
  for (const auto job : oldest) waiting[question->jobs[job].user].push_back(job);

  struct Turn {
    std::uint64_t held;
    std::uint64_t first;  ///< number of the user's oldest job: who waits longer goes first among equals
    std::uint32_t user;
  };
  const auto later = [](const Turn& a, const Turn& b) {
    return a.held != b.held ? a.held > b.held : a.first > b.first;
  };
  std::priority_queue<Turn, std::vector<Turn>, decltype(later)> turns(later);
  for (std::uint32_t user = 0; user < waiting.size(); ++user)
    if (!waiting[user].empty())
      turns.push({question->users[user].milli_vcpus, question->jobs[waiting[user].front()].number, user});
  std::vector<std::uint32_t> order;
  while (!turns.empty()) {
    auto turn = turns.top();
    turns.pop();
    const auto job = waiting[turn.user].front();
    waiting[turn.user].pop_front();
    order.push_back(job);
    if (waiting[turn.user].empty()) continue;
    turn.held += std::max<std::uint64_t>(1, question->jobs[job].milli_vcpus);
    turn.first = question->jobs[waiting[turn.user].front()].number;
    turns.push(turn);
  }
  return mvm::policy::write_order(false, order, plan, room);
}

int state;
void* create(const char*) { return &state; }
void destroy(void*) {}

}  // namespace

extern "C" const mvm_policy_descriptor mvm_policy = {sizeof(mvm_policy_descriptor),
                                                     MVM_POLICY_API,
                                                     MVM_POLICY_ABI,
                                                     MVM_POLICY_ORDER,
                                                     "order-fair",
                                                     "1.0.0",
                                                     nullptr,
                                                     nullptr,
                                                     &create,
                                                     &destroy,
                                                     &decide};
