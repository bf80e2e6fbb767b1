// SPDX-License-Identifier: Apache-2.0
#include "wait.h"

#include <linux/futex.h>

#include <algorithm>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

namespace mvm::ring {
namespace {

constexpr int kYields = 10;  // between two looks at the clock
constexpr std::int64_t kAwake = 1'000'000;
constexpr int kYieldsOfMany = 5;
constexpr std::int64_t kBriefSleep = 5'000'000;
constexpr std::int64_t kPollWithoutWaitv = 1'000'000;  // on kernels before 5.16, several queues are polled

// The uapi's struct, for headers older than 5.16.
struct WaitWord {
  std::uint64_t value;
  std::uint64_t address;
  std::uint32_t flags;
  std::uint32_t reserved;
};
constexpr std::uint32_t kSize32Shared = 2;

bool any(End* const* ends, unsigned count, bool (*test)(End&)) {
  for (unsigned i = 0; i < count; ++i) {
    if (test(*ends[i])) return true;
  }
  return false;
}

bool interrupted(const Interrupt& interrupt) {
  return interrupt.word != nullptr && interrupt.word->load(std::memory_order_acquire) != interrupt.value;
}

// False where the time passed.
bool sleep_on(WaitWord* words, std::atomic<std::uint32_t>* first, unsigned ends, unsigned count,
              std::int64_t wait) {
  if (count == 0) {  // nothing but the time
    const timespec nap = to_timespec(wait);
    ::nanosleep(&nap, nullptr);
    return false;
  }
  if (count == 1) {
    return futex_wait(*first, static_cast<std::uint32_t>(words[0].value), wait);
  }
  const timespec until = to_timespec(now_ns() + wait);
  if (::syscall(SYS_futex_waitv, words, count, 0, &until, CLOCK_MONOTONIC) >= 0) return true;
  if (errno == ENOSYS || errno == EPERM) {
    if (ends == 1) {  // the interrupt's word is looked at between two sleeps
      return futex_wait(*first, static_cast<std::uint32_t>(words[0].value), wait);
    }
    const timespec nap = to_timespec(std::min(wait, kPollWithoutWaitv));
    ::nanosleep(&nap, nullptr);
    return wait > kPollWithoutWaitv;
  }
  return errno != ETIMEDOUT;
}

}  // namespace

Woken wait_any(End* const* ends, unsigned count, bool (*test)(End&), std::int64_t deadline, Spin& spin,
               const Interrupt& interrupt) {
  count = std::min(count, kMostEnds);
  std::int64_t check_at = 0;
  bool fence = false;
  bool slept = false;
  int yields = kYields;
  for (unsigned i = 0; i < count; ++i) {
    fence |= ends[i]->fences_peers();
    // Where many wait for the same, the core goes to another one that waits, or to a stranger for his whole
    // turn; who sleeps is given it back when there is something to do.
    if (ends[i]->is_claims()) yields = kYieldsOfMany;
  }
  for (;;) {
    if (any(ends, count, test)) return Woken::kReady;
    if (interrupted(interrupt)) return Woken::kInterrupted;
    if (deadline != kForever && deadline <= now_ns()) return Woken::kTimeout;
    const auto ready_now = [&] { return any(ends, count, test); };
    if (!slept && spin(ready_now)) return Woken::kReady;
    if (!slept &&
        spin.yields(ready_now, yields, yields < kYields ? 0 : std::min(kAwake, deadline - now_ns())))
      return Woken::kReady;
    if (deadline != kForever && deadline <= now_ns()) return Woken::kTimeout;
    if (!slept) spin.sleeps();
    if (check_at == 0) check_at = now_ns() + kCheckEvery;

    WaitWord words[kMostEnds + 1];
    unsigned used = 0;
    for (unsigned i = 0; i < count; ++i) {
      words[used++] = {ends[i]->arm(), reinterpret_cast<std::uint64_t>(&ends[i]->event().step), kSize32Shared,
                       0};
    }
    if (interrupt.word != nullptr && interrupt.sleeps) {
      words[used++] = {interrupt.value, reinterpret_cast<std::uint64_t>(interrupt.word), kSize32Shared, 0};
    }
    // Against a peer that changes something and then looks whether anybody sleeps: one of the two sees the
    // other.
    // The first sleep is short, so it may do without interrupting the peers: a wake-up that it misses costs
    // that little. A hand-over from one process to the other is shorter still.
    const bool brief = fence && !slept;
    if (fence && !brief) {
      fence_peers();
    } else {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    slept = true;
    bool ready = any(ends, count, test);
    if (!ready && !interrupted(interrupt)) {
      for (unsigned i = 0; i < count; ++i) ends[i]->own().asleep.store(1, std::memory_order_relaxed);
      const std::int64_t now = now_ns();
      const std::int64_t wait = std::min({deadline - now, check_at - now, brief ? kBriefSleep : kCheckEvery});
      if (wait > 0) sleep_on(words, count > 0 ? &ends[0]->event().step : interrupt.word, count, used, wait);
      for (unsigned i = 0; i < count; ++i) ends[i]->own().asleep.store(0, std::memory_order_relaxed);
      if (now_ns() >= check_at) {
        for (unsigned i = 0; i < count; ++i) ends[i]->check_peers();
        check_at = now_ns() + kCheckEvery;
      }
      ready = any(ends, count, test);
    }
    // A wake-up meant for one consumer of many must not end with us if we do not take.
    if (count > 1 || !ready) {
      for (unsigned i = 0; i < count; ++i) ends[i]->pass_on();
    }
    if (ready) return Woken::kReady;
  }
}

void sleep_until_changed(const WordValue* words, std::size_t count) {
  WaitWord waits[kMostEnds + 1];
  unsigned used = 0;
  for (std::size_t i = 0; i < count && used <= kMostEnds; ++i) {
    waits[used++] = {words[i].value, reinterpret_cast<std::uint64_t>(words[i].word), kSize32Shared, 0};
  }
  if (::syscall(SYS_futex_waitv, waits, used, 0, nullptr, CLOCK_MONOTONIC) >= 0 ||
      (errno != ENOSYS && errno != EPERM)) {
    return;
  }
  for (;;) {
    for (std::size_t i = 0; i < count; ++i) {
      if (words[i].word->load() != words[i].value) return;
    }
    const timespec nap = to_timespec(kPollWithoutWaitv);
    ::nanosleep(&nap, nullptr);
  }
}

}  // namespace mvm::ring
