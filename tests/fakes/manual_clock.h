#pragma once
// A clock that moves when it is told to.

#include <atomic>
#include <chrono>

#include "mvm/base/clock.h"

namespace mvm::fakes {

class ManualClock final : public Clock {
 public:
  [[nodiscard]] Instant now() const override { return Instant(std::chrono::milliseconds(ms_.load())); }
  [[nodiscard]] std::int64_t wall_ms() const override { return 1'700'000'000'000 + ms_.load(); }
  void advance(std::chrono::milliseconds by) { ms_ += by.count(); }

 private:
  std::atomic<std::int64_t> ms_{1'000'000};
};

}  // namespace mvm::fakes
