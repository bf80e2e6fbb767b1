#pragma once
// The client's end of protocols in which a connection carries one call at a time: connections that rest
// between calls.

#include <poll.h>
#include <sys/socket.h>

#include <mutex>
#include <set>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/rmix/sockets.h"

namespace mvm::rmix::sockets {

/// Connections to one place. `Line` is what a protocol has besides the socket: made by it, moved with it.
/// Thread-safe.
template <class Line>
class Lines {
 public:
  explicit Lines(Place place) : place_(std::move(place)) {}

  /// A connection in use.
  struct Held {
    UniqueFd socket;
    Line line;
    bool fresh = false;
  };

  /// One that rests, or a new one. What came unasked over one that rests is its end.
  Result<Held> take(Clock::Instant deadline) {
    for (;;) {
      std::unique_lock lock(mutex_);
      if (shut_) return Error(ErrorCode::kUnavailable, "the connection is being closed");
      if (resting_.empty()) break;
      Held held = std::move(resting_.back());
      resting_.pop_back();
      used_.insert(held.socket.get());
      lock.unlock();
      held.fresh = false;
      if (!wait_for(held.socket.get(), POLLIN, Clock::Instant())) return held;
      drop(held);
    }
    MVM_ASSIGN(UniqueFd socket, connect_to(place_, deadline));
    const std::lock_guard lock(mutex_);
    if (shut_) return Error(ErrorCode::kUnavailable, "the connection is being closed");
    used_.insert(socket.get());
    return Held{std::move(socket), Line(), true};
  }
  void give(Held held) {
    const std::lock_guard lock(mutex_);
    used_.erase(held.socket.get());
    if (!shut_ && resting_.size() < kMostResting) resting_.push_back(std::move(held));
  }
  void drop(Held& held) {
    const std::lock_guard lock(mutex_);
    used_.erase(held.socket.get());
    held.socket.reset();
  }
  /// Ends what is being read and written.
  void shut() {
    const std::lock_guard lock(mutex_);
    shut_ = true;
    for (const int socket : used_) ::shutdown(socket, SHUT_RDWR);
  }

 private:
  static constexpr std::size_t kMostResting = 16;
  const Place place_;
  std::mutex mutex_;
  bool shut_ = false;
  std::set<int> used_;
  std::vector<Held> resting_;
};

}  // namespace mvm::rmix::sockets
