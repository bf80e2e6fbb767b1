// SPDX-License-Identifier: Apache-2.0
#pragma once
// Waiting on ends: spin a little, yield, then sleep in the kernel. Every sleep is short enough that a wake-up
// lost with a killed process costs a fraction of a second, never a hang.

#include <atomic>
#include <cstdint>

#include "end.h"
#include "futex.h"

namespace mvm::ring {

inline constexpr std::int64_t kCheckEvery = 250'000'000;  // sleeps are cut here, to look whether peers live
inline constexpr unsigned kMostEnds = 127;                // of one waiting; the kernel's limit less one

/// Something else that ends a waiting: a word that changes (a new wiring), or another thread.
struct Interrupt {
  std::atomic<std::uint32_t>* word = nullptr;  // may be null
  std::uint32_t value = 0;                     // as long as it is this
  bool sleeps = false;                         // its changes come with a futex wake
};

enum class Woken { kReady, kTimeout, kInterrupted };

/// Whether something that often is in vain is worth its time: after so many failures in a row it is left out,
/// but for a try now and then.
class Patience {
 public:
  [[nodiscard]] bool has() const { return !lost() || (failures_ & (kTriesAgain - 1)) == 0; }
  /// True once it has failed so often that only tries are left.
  [[nodiscard]] bool lost() const { return failures_ >= kGivesUp; }
  void failed() { ++failures_; }
  void helped() { failures_ = 0; }

 private:
  static constexpr unsigned kGivesUp = 16;
  static constexpr unsigned kTriesAgain = 64;
  unsigned failures_ = 0;
};

/// How long a waiter stays awake: it spins for as long as a change of processes takes, then yields. What
/// never helps is left out, but for a try now and then: spinning where the peer runs on the same core;
/// yielding, too, where the peer needs longer anyhow, or where a yield does not reach it (a scheduler that
/// groups processes).
class Spin {
 public:
  template <class Ready>
  bool operator()(Ready ready) {
    if (spent_) {
      spent_ = false;
      return false;
    }
    const int pauses = spinning_.has() ? kPauses : 1;
    for (int i = 0; i < pauses; ++i) {
      if (ready()) {
        if (pauses == kPauses) spinning_.helped();
        return true;
      }
      pause_cpu();
    }
    spinning_.failed();
    return false;
  }
  /// The next spinning was done already.
  void spent() { spent_ = true; }
  /// Hands the core to whoever can use it, until `ready`, or so many times at least and for so long (ns).
  template <class Ready>
  bool yields(Ready ready, int times, std::int64_t wait_ns) {
    if (!yielding_.has()) return false;
    const std::int64_t until = now_ns() + wait_ns;
    do {
      for (int i = 0; i < times; ++i) {
        ::sched_yield();
        if (ready()) {
          yielding_.helped();
          return true;
        }
      }
    } while (now_ns() < until);
    return false;
  }
  /// Staying awake did not help.
  void sleeps() { yielding_.failed(); }

 private:
  static constexpr int kPauses = 50;
  Patience spinning_;
  Patience yielding_;
  bool spent_ = false;
};

/// Waits until `test(end)` holds for one of the ends or the deadline (now_ns() scale) passes. `test` is
/// End::maybe (a step may succeed) or End::ready.
Woken wait_any(End* const* ends, unsigned count, bool (*test)(End&), std::int64_t deadline, Spin& spin,
               const Interrupt& interrupt);

/// A word and the value it must keep for a sleep to go on.
struct WordValue {
  std::atomic<std::uint32_t>* word;
  std::uint32_t value;
};
/// Sleeps until one of at most 128 words may have changed.
void sleep_until_changed(const WordValue* words, std::size_t count);

inline bool test_maybe(End& end) { return end.maybe(); }
inline bool test_ready(End& end) { return end.ready(); }
inline bool test_grown(End& end) { return end.grown(); }

/// Repeats a step of one end until it gives anything but kAgain. MVM_TIMEOUT, MVM_REWIRED (interrupted).
template <class Step>
std::int64_t until_done(End& end, Step step, std::int64_t wait_ns, Spin& spin, const Interrupt& interrupt) {
  std::int64_t result = step();
  if (result != kAgain || wait_ns == 0) return result == kAgain ? -2 : result;
  const std::int64_t deadline = deadline_after(wait_ns);
  end.lock_until(deadline);
  End* one = &end;
  for (;;) {
    const Woken woken = wait_any(&one, 1, &test_maybe, deadline, spin, interrupt);
    result = step();
    if (result != kAgain || woken != Woken::kReady) break;
  }
  end.lock_until(0);
  if (result != kAgain) return result;
  return interrupt.word != nullptr && interrupt.word->load() != interrupt.value ? -3 : -2;
}

}  // namespace mvm::ring
