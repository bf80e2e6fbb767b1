#pragma once
// What the providers' watches and leases have in common.

#include <condition_variable>
#include <map>
#include <mutex>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/registry/table.h"

namespace mvm::registry {

/// The events of a registry, and those who wait for them. Thread-safe.
class Feed {
 public:
  /// `ahead`: others may know of later revisions than were added here, so a watch from one of those waits.
  explicit Feed(std::uint64_t begin = 0, bool ahead = false) : history_(begin), ahead_(ahead) {}
  /// The events of one revision, which is higher than all before; wakes the watches. Empty: the revision
  /// alone.
  void add(std::uint64_t revision, const std::vector<Event>& events);
  /// Forgets everything: the registry was replaced by a snapshot of this revision.
  void restart(std::uint64_t revision);
  /// As Registry::watch. Waits by the machine's clock.
  [[nodiscard]] Result<Events> watch(std::uint64_t after, std::string_view pattern,
                                     std::chrono::milliseconds wait, std::size_t limit);
  void stop();
  [[nodiscard]] std::uint64_t last() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  History history_;
  bool ahead_;
  bool stopped_ = false;
};

/// When leases end. Not thread-safe.
class LeaseTimes {
 public:
  explicit LeaseTimes(Clock& clock) : clock_(clock) {}
  /// Begins to count, or begins again.
  void begin(std::uint64_t lease, std::chrono::milliseconds ttl);
  /// False where there is no such lease, or its time has passed.
  [[nodiscard]] bool keep(std::uint64_t lease);
  void drop(std::uint64_t lease);
  void clear();
  /// Those whose time has passed, which stay until they are dropped.
  [[nodiscard]] std::vector<std::uint64_t> ended() const;
  /// When the first of all ends; nothing: there are none.
  [[nodiscard]] std::optional<Clock::Instant> next() const;

 private:
  struct Lease {
    std::chrono::milliseconds ttl{0};
    Clock::Instant ends;
  };
  Clock& clock_;
  std::map<std::uint64_t, Lease> leases_;
  std::set<std::pair<Clock::Instant, std::uint64_t>> by_time_;
};

}  // namespace mvm::registry
