#pragma once
// Time arrives through Clock& so that tests can move it by hand.

#include <chrono>
#include <cstdint>
#include <string>

namespace mvm {

/// The source of time. Thread-safe.
class Clock {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  virtual ~Clock() = default;
  /// Monotonic; for deadlines and durations.
  [[nodiscard]] virtual Instant now() const = 0;
  /// Milliseconds since 1970-01-01 UTC; for people and records, never for deadlines.
  [[nodiscard]] virtual std::int64_t wall_ms() const = 0;
};

/// The machine's clocks.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] Instant now() const override { return std::chrono::steady_clock::now(); }
  [[nodiscard]] std::int64_t wall_ms() const override;
};

/// "2026-01-31T08:05:09.123Z" from wall milliseconds.
[[nodiscard]] std::string format_time(std::int64_t wall_ms);

}  // namespace mvm
