#pragma once
// Waiting on behalf of a client: bounded, in a place of its own, and not for a client that is gone.

#include <algorithm>
#include <chrono>

#include "exchange.h"

namespace mvm::soap {

inline constexpr std::chrono::milliseconds kLongestWait{25'000};

/// Asks `ask(wait)` until `enough(answer)` or the wait is over. It waits in slices, between which it sees
/// that the client left or the server stops.
template <class Answer, class Ask, class Enough>
Result<Answer> long_poll(Exchange& exchange, unsigned wait_ms, Ask ask, Enough enough) {
  using std::chrono::milliseconds;
  constexpr milliseconds kSlice{2'000};
  if (wait_ms == 0) return ask(milliseconds(0));
  MVM_TRY(exchange.begin_wait());
  const auto end = std::chrono::steady_clock::now() + std::min(milliseconds(wait_ms), kLongestWait);
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
    Result<Answer> answer = ask(std::clamp(left, milliseconds(0), kSlice));
    if (!answer || enough(*answer) || left <= kSlice || !exchange.worth_waiting()) return answer;
  }
}

}  // namespace mvm::soap
