// SPDX-License-Identifier: Apache-2.0
#include "mvm.h"

extern "C" const char* mvm_strerror(int64_t result) {
  if (result >= 0) return "done";
  switch (result) {
    case MVM_EOS:
      return "end of stream";
    case MVM_TIMEOUT:
      return "the time-out passed";
    case MVM_REWIRED:
      return "the port's links changed: call again";
    case MVM_DROPPED:
      return "the queue was full and dropped this message";
    case MVM_TOOBIG:
      return "the message is too big";
    case MVM_FULL:
      return "the queue is full";
    case MVM_PEERDEAD:
      return "a process at the other end died";
    case MVM_EINVAL:
      return "wrong argument, wrong direction, or calls in the wrong order";
    case MVM_ENOENT:
      return "no such port";
    case MVM_ENOTMVM:
      return "not started by MVM: run it with mvm submit";
    case MVM_ECORRUPT:
      return "shared memory or the wiring is broken";
    case MVM_ETYPE:
      return "the next item is of another type";
    case MVM_EEND:
      return "no more items, or no more room";
    case MVM_ESYS:
      return "the operating system refused";
    case MVM_EBUSY:
      return "the end of the link is in use, or was closed before";
    default:
      return "unknown result";
  }
}
