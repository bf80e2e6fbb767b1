// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sleeping and time, one gate to the system calls. Futexes here are shared between processes.

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace mvm::ring {

inline constexpr std::int64_t kForever = INT64_MAX;

/// Monotonic nanoseconds.
inline std::int64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

/// The moment `wait` nanoseconds from now; < 0 is for ever.
inline std::int64_t deadline_after(std::int64_t wait) {
  if (wait < 0) return kForever;
  const std::int64_t now = now_ns();
  return wait > kForever - now ? kForever : now + wait;
}

inline timespec to_timespec(std::int64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

inline std::uint32_t* raw(std::atomic<std::uint32_t>& word) {
  return reinterpret_cast<std::uint32_t*>(&word);
}

/// Sleeps while `word` is `value`, at most `wait` nanoseconds. False where the time passed.
inline bool futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, std::int64_t wait) {
  const timespec time = to_timespec(wait);
  return ::syscall(SYS_futex, raw(word), FUTEX_WAIT, value, &time, nullptr, 0) == 0 || errno != ETIMEDOUT;
}

/// Returns how many sleepers were woken.
inline int futex_wake(std::atomic<std::uint32_t>& word, int most) {
  return static_cast<int>(::syscall(SYS_futex, raw(word), FUTEX_WAKE, most, nullptr, nullptr, 0));
}

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace mvm::ring
