#pragma once
// The log of a machine's events: whoever may add to it is the machine's status server.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/dvm/status.h"

namespace mvm::dvm {

/// An event in its place, with what it did.
struct Recorded {
  std::uint64_t number = 0;
  std::shared_ptr<const std::string> text;
  Effects effects;
};

/// A status and the last of the events that made it, from which those who missed some are served.
struct Record {
  VmStatus status;
  std::deque<Recorded> recent;

  /// Applies an event's text; null where it changed nothing.
  const Recorded* apply(std::string_view text);
  [[nodiscard]] std::string snapshot() const;
  [[nodiscard]] Status restore(std::string_view text);
};

/// One kernel's copy of the log. Its calls back come on the event loop that it was made for.
class Log {
 public:
  struct Hooks {
    /// This kernel is the status server of a new term; everything acknowledged before is in `record`.
    std::function<void(std::uint64_t term, Record record)> leading;
    /// An event was added; only between leading() and following().
    std::function<void(const std::string& text)> added;
    /// This kernel is not, or no longer, the status server; where that one is, if the log says so, and where
    /// others are who may know.
    std::function<void(const std::string& address, const std::vector<std::string>& others)> following;
    /// This copy is of no use any more.
    std::function<void(const Error& why)> ended;
  };
  virtual ~Log() = default;
  /// Asks for an event to be added. A failure is told in the log of the process only: who asks looks at what
  /// was added, and asks again.
  virtual void propose(std::string text) = 0;
  /// A life of another's copy.
  struct Life {
    std::uint64_t copy = 0;
    std::uint64_t life = 0;
    std::string address;  ///< where it takes calls, as long as it lasts
    bool displaced = false;  ///< somebody else takes calls there: it is over
  };
  /// Those nobody knows to be over that are not heard of at present. Also one that its kernel has set aside
  /// is among them: the others wait for it until its death is confirmed.
  [[nodiscard]] virtual std::vector<Life> silent() const = 0;
  /// A fact: this life of a copy is over.
  virtual void confirm_death(std::uint64_t copy, std::uint64_t life) = 0;
  /// Where others join: an array that Log knows to read.
  [[nodiscard]] virtual nlohmann::json contacts() const = 0;
  /// Our own copy and its life; 0 while it takes no part.
  [[nodiscard]] virtual std::uint64_t copy() const = 0;
  [[nodiscard]] virtual std::uint64_t life() const = 0;
  /// Gives up our part in good order; `done` in any case.
  virtual void leave(std::function<void()> done) = 0;
};

}  // namespace mvm::dvm
