// A placement component that does what MODE says: 1 crashes, 2 never answers, 3 answers nonsense, 4 uses a
// host that is full, 5 is of another interface version, 6 is of another kind, 7 refuses to be made.

#include <unistd.h>

#include <csignal>
#include <cstring>

#include "mvm/policy.hpp"

namespace {

[[maybe_unused]] std::int64_t decide(void*, const void* snapshot, std::uint64_t size, void* plan,
                                     std::uint64_t room) {
  if (MODE == 1) ::raise(SIGSEGV);
  if (MODE == 2)
    for (;;) ::pause();
  if (MODE == 3) {
    std::memset(plan, 0x5a, 100);
    return 100;
  }
  const auto question = mvm::policy::Placement::read(snapshot, size);
  if (!question) return -1;
  // Whatever there is of room: all on the last host that could boot it.
  std::vector<std::uint32_t> host_of;
  for (const auto& set : question->sets)
    for (std::uint32_t k = 0; k < set.count; ++k) host_of.push_back(question->candidates_of(set).back());
  return mvm::policy::write_placement(true, MVM_LAYOUT_BLOCK, host_of, plan, room);
}

int state;
void* create(const char*) { return MODE == 7 ? nullptr : &state; }

}  // namespace

extern "C" const mvm_policy_descriptor mvm_policy = {sizeof(mvm_policy_descriptor),
                                                     MODE == 5 ? 99U : MVM_POLICY_API,
                                                     MVM_POLICY_ABI,
                                                     MODE == 6 ? MVM_POLICY_ORDER : MVM_POLICY_PLACEMENT,
                                                     "misbehaving",
                                                     "1.0.0",
                                                     nullptr,
                                                     nullptr,
                                                     &create,
                                                     nullptr,
                                                     &decide};
