#pragma once
// Which client holds which message of one consuming end: several clients outside the lab share it, and what a
// client never acknowledges goes to another. Pure bookkeeping; the messages stay where they are.

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/queuevm/queue.h"

namespace mvm::queuevm {

/// How long a client of an open port may be silent before what it holds is given to others.
inline constexpr std::chrono::seconds kClientLease{30};

/// One thread at a time. A message gets its number when it is handed out, and another one when it is handed
/// out again: so "all up to number n" never means a message that a client has not seen.
class HandOut {
 public:
  struct Entry {
    std::uint64_t number = 0;  ///< while a client holds it
    MessageView message;
    std::string client;  ///< who holds it; empty: nobody yet
    bool done = false;   ///< acknowledged
    bool again = false;  ///< was held before, by a client that never acknowledged it
  };
  /// A client that is not heard of for `lease` has lost what it holds. `first`: numbers begin there; greater
  /// than any that an earlier HandOut of the same end gave.
  HandOut(std::chrono::milliseconds lease, std::uint64_t first) : lease_(lease), next_number_(first) {}

  /// The next message of the end; its bytes outlive it here. `holder`, `number`: as it was held in another
  /// HandOut.
  void add(const MessageView& message, const std::string& holder = {}, std::uint64_t number = 0);
  /// A client calls: it lives, and is done with everything it holds up to that number.
  void heard(const std::string& client, std::uint64_t acknowledged, Clock::Instant now);
  /// A client goes: what it holds is anybody's.
  void leave(const std::string& client);
  /// What silent clients hold is anybody's. True: something became free.
  bool expire(Clock::Instant now);
  /// The message with the least number above `number` that the client holds, or else the oldest that nobody
  /// holds, which it holds from now on; null: none. Valid until the next call.
  [[nodiscard]] const Entry* next(const std::string& client, std::uint64_t number);
  /// Acknowledged messages at the head, oldest first: taken out, to be released.
  [[nodiscard]] std::vector<MessageView> take_done();

  /// All that is not acknowledged, oldest first.
  [[nodiscard]] const std::deque<Entry>& entries() const { return entries_; }
  /// True where a client other than this one holds something it may yet lose.
  [[nodiscard]] bool held_by_others(const std::string& client) const;

 private:
  void free(const std::string& client);
  const std::chrono::milliseconds lease_;
  std::deque<Entry> entries_;
  std::map<std::string, Clock::Instant> heard_;
  std::uint64_t next_number_;
};

}  // namespace mvm::queuevm
