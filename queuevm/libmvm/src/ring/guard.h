// SPDX-License-Identifier: Apache-2.0
#pragma once
// A file under /dev/shm can be cut short by anybody who may write it, and touching what is missing is SIGBUS.
// A daemon that serves many links must not die of one of them.

#include <cstddef>

namespace mvm::ring {

/// From now on a page of a queue's file that has gone is replaced by an empty private one: the link that was
/// cut looks idle or broken, and the process lives. A SIGBUS from elsewhere does what it did before. For
/// daemons; once is enough. The handler is process-wide: there is no other way to meet a signal.
void survive_cut_files();

/// Where queues are mapped; kept by Region. Safe while a handler runs.
void guard_add(const void* begin, std::size_t size);
void guard_remove(const void* begin);

}  // namespace mvm::ring
