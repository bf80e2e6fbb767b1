#pragma once
// What Queue, Producer, Consumer and Waiter hide.

#include <mutex>

#include "mvm.h"
#include "mvm/queuevm/queue.h"
#include "ring/end.h"
#include "ring/wait.h"

namespace mvm::queuevm::detail {

struct QueueImpl {
  ring::Region region;
  QueueSpec spec;
  std::mutex manager;  // our threads take turns in being the queue's manager
};

struct EndImpl {
  ring::End end;
  ring::Spin spin;
};

/// A result of the engine as this layer's; kAgain is kWouldBlock.
inline Result<Outcome> outcome_of(std::int64_t result) {
  switch (result) {
    case MVM_OK:
      return Outcome::kDone;
    case ring::kAgain:
    case MVM_TIMEOUT:
      return Outcome::kWouldBlock;
    case MVM_EOS:
      return Outcome::kEndOfStream;
    case MVM_PEERDEAD:
      return Outcome::kPeerDead;
    case MVM_DROPPED:
      return Outcome::kDropped;
    case MVM_FULL:
      return Outcome::kFull;
    case MVM_TOOBIG:
      return Error(ErrorCode::kInvalid, "a message is at most half of the queue's bytes");
    case MVM_ECORRUPT:
      return Error(ErrorCode::kCorrupt, "the queue's shared memory holds impossible values");
    default:
      return Error(ErrorCode::kInvalid, mvm_strerror(result));
  }
}

inline ring::SlotState slot_state(EndState how) { return how == EndState::kDead ? ring::kDead : ring::kDone; }

}  // namespace mvm::queuevm::detail
