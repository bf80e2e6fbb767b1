#pragma once
// What Queue, Producer, Consumer and Waiter hide.

#include <time.h>

#include <climits>
#include <mutex>

#include "mvm.h"
#include "mvm/queuevm/queue.h"
#include "ring/end.h"
#include "ring/futex.h"
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

inline constexpr std::int64_t kManagerPatience = 2'000'000'000;

/// Being the queue's manager: one at a time over all processes, by a claim that dies with its holder.
class ManagerTurn {
 public:
  explicit ManagerTurn(detail::QueueImpl& queue) : region_(queue.region), lock_(queue.manager) {}
  ~ManagerTurn() {
    if (held_) region_.unclaim(region_.slot_count());
  }
  ManagerTurn(const ManagerTurn&) = delete;
  ManagerTurn& operator=(const ManagerTurn&) = delete;
  bool take(std::int64_t until) {
    while (!(held_ = region_.claim(region_.slot_count()))) {
      if (ring::now_ns() >= until) return false;
      const timespec nap{0, 200'000};
      ::nanosleep(&nap, nullptr);
    }
    return true;
  }

 private:
  ring::Region& region_;
  std::unique_lock<std::mutex> lock_;
  bool held_ = false;
};

inline void wake(ring::Event& event) {
  event.sleepers.store(0);
  event.step.fetch_add(1);
  ring::futex_wake(event.step, INT_MAX);
}

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
