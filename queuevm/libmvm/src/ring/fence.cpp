// SPDX-License-Identifier: Apache-2.0
#include "fence.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mvm::ring {

bool can_fence_peers() {
  static const bool registered =
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
  return registered;
}

void fence_peers() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (can_fence_peers()) ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

}  // namespace mvm::ring
