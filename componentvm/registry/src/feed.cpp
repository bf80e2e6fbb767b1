#include "mvm/registry/feed.h"

#include <algorithm>

namespace mvm::registry {

void Feed::add(std::uint64_t revision, const std::vector<Event>& events) {
  {
    const std::lock_guard lock(mutex_);
    history_.add(revision, events);
  }
  changed_.notify_all();
}

void Feed::restart(std::uint64_t revision) {
  {
    const std::lock_guard lock(mutex_);
    history_ = History(revision);
  }
  changed_.notify_all();
}

Result<Events> Feed::watch(std::uint64_t after, std::string_view pattern, std::chrono::milliseconds wait,
                           std::size_t limit) {
  MVM_TRY(check_pattern(pattern));
  const auto ends =
      std::chrono::steady_clock::now() + std::clamp(wait, std::chrono::milliseconds(0), kMaxPoll);
  std::unique_lock lock(mutex_);
  std::uint64_t cursor = after;
  while (true) {
    if (stopped_) return Error(ErrorCode::kCancelled, "the registry is being stopped");
    Events found{.events = {}, .cursor = cursor};
    if (!ahead_ || cursor <= history_.last()) {
      MVM_ASSIGN(found, history_.after(cursor, pattern, std::clamp<std::size_t>(limit, 1, kMaxEvents)));
    }
    if (!found.events.empty() || std::chrono::steady_clock::now() >= ends) return found;
    // What is there was looked at: it need not be again.
    cursor = found.cursor;
    changed_.wait_until(lock, ends);
  }
}

std::uint64_t Feed::last() const {
  const std::lock_guard lock(mutex_);
  return history_.last();
}

void Feed::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

void LeaseTimes::begin(std::uint64_t lease, std::chrono::milliseconds ttl) {
  drop(lease);
  const auto ends = clock_.now() + ttl;
  leases_[lease] = Lease{.ttl = ttl, .ends = ends};
  by_time_.emplace(ends, lease);
}

bool LeaseTimes::keep(std::uint64_t lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end() || found->second.ends <= clock_.now()) return false;
  begin(lease, std::chrono::milliseconds(found->second.ttl));
  return true;
}

void LeaseTimes::drop(std::uint64_t lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return;
  by_time_.erase({found->second.ends, lease});
  leases_.erase(found);
}

void LeaseTimes::clear() {
  leases_.clear();
  by_time_.clear();
}

std::vector<std::uint64_t> LeaseTimes::ended() const {
  std::vector<std::uint64_t> result;
  const auto now = clock_.now();
  for (const auto& [ends, lease] : by_time_) {
    if (ends > now) break;
    result.push_back(lease);
  }
  return result;
}

std::optional<Clock::Instant> LeaseTimes::next() const {
  if (by_time_.empty()) return std::nullopt;
  return by_time_.begin()->first;
}

}  // namespace mvm::registry
