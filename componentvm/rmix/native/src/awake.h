#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "ring/wait.h"

namespace mvm::rmix::native {

/// How a side of shared memory waits for the other before it sleeps: it spins for as long as a change of
/// processes takes, then yields. Where somebody else computes on the same core a yield costs his whole time
/// slice, while who sleeps is woken at once when there is something to do: after a yield that took so long
/// the next waits do without, and more of them the more often that happens.
class Awake {
 public:
  /// True once `ready`; false: it is time to sleep.
  template <class Ready>
  bool operator()(Ready ready) {
    if (spin_(ready)) return true;
    if (left_out_ > 0) {
      --left_out_;
      return false;
    }
    if (!patience_.has()) return false;
    std::int64_t now = ring::now_ns();
    for (const std::int64_t until = now + kAwake; now < until;) {
      ::sched_yield();
      const bool there = ready();
      const std::int64_t begin = std::exchange(now, ring::now_ns());
      if (now - begin > kWholeSlice) {
        left_out_ = leave_out_;
        leave_out_ = std::min(2 * leave_out_, kMostLeftOut);
        return there;
      }
      if (!there) continue;
      leave_out_ = std::max(leave_out_ - leave_out_ / 16, kLeftOut);
      patience_.helped();
      return true;
    }
    patience_.failed();
    return false;
  }

 private:
  static constexpr std::int64_t kAwake = 60'000;  // ns
  static constexpr std::int64_t kWholeSlice = 500'000;
  static constexpr unsigned kLeftOut = 64;  // waits without yields
  static constexpr unsigned kMostLeftOut = 4096;
  ring::Spin spin_;
  ring::Patience patience_;
  unsigned leave_out_ = kLeftOut;
  unsigned left_out_ = 0;
};

}  // namespace mvm::rmix::native
