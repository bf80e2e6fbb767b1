// SPDX-License-Identifier: Apache-2.0
#pragma once
// The fence between "change something, then look whether anybody sleeps" and "say that one sleeps, then look
// whether something changed". The first is on the path of every message, the second only before a sleep: so
// the sleeper pays for both. It asks the kernel to run a full fence on every core where a registered process
// runs (membarrier, all processes of the machine, containers included), and the other side needs none of its
// own, where both are registered. docs/formats/ring.md argues it.

#include <atomic>

namespace mvm::ring {

/// Registers this process, once. False where the kernel does not offer it, or a filter forbids it: this
/// process then fences itself, and says so in its slots.
bool can_fence_peers();

/// Before a sleep, between saying so and the last look.
void fence_peers();

/// Between a change and the look for sleepers. `needed`: this process or a peer cannot fence the others.
inline void fence_own(bool needed) {
  if (__builtin_expect(needed, 0)) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

}  // namespace mvm::ring
