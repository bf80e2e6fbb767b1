#pragma once
// The parts of a broker and what they share. Everything here belongs to the loop's thread unless it says
// else.

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "journal.h"
#include "mvm/broker/broker.h"
#include "mvm/broker/crash_point.h"

namespace mvm::broker {

class Hosts;
class Labs;
class Jobs;
class Builds;
class Logs;
class Scheduler;
class Execs;
class Rewirings;

/// A caller that waits for something to be so. Its thread sleeps; the loop asks `look` after every change.
struct LongPoll {
  std::function<bool()> look;  ///< on the loop; true: the answer is there
  std::mutex mutex;
  std::condition_variable changed;
  bool settled = false;
};

class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(BrokerConfig configuration, Store& a_store, const BlobStore& a_blobs, Clock& a_clock, Loop& a_loop,
       Executor& an_executor, const std::vector<host::HostAgent*>& agents);
  ~Core();

  [[nodiscard]] Status load();
  void start();
  void stop();

  /// Runs the task on the loop, unless the broker has stopped by then.
  void post(Task task);
  Loop::Timer after(std::chrono::milliseconds delay, Task task);

  /// Runs `work` on the executor and gives its answer to `done` on the loop.
  template <class Work, class Done>
  void run(Work work, Done done) {
    executor.run(
        [self = weak_from_this(), &loop_of = loop, work = std::move(work), done = std::move(done)]() mutable {
          auto answer = std::make_shared<decltype(work())>(work());
          loop_of.post([self, answer, done = std::move(done)]() mutable {
            if (const auto core = self.lock(); core && !core->stopped) done(std::move(*answer));
          });
        });
  }

  /// From a caller's thread: runs `question` on the loop, commits what it put, and returns its answer.
  template <class Question>
  auto ask(Question question) -> decltype(question()) {
    std::optional<decltype(question())> answer;
    const bool ran = loop.call([&] {
      if (stopped) return;
      answer.emplace(question());
      if (const auto flushed = journal.flush(); !flushed) answer.emplace(flushed.error());
      look();
    });
    if (!ran || !answer) return Error(ErrorCode::kUnavailable, "the broker is stopping");
    return std::move(*answer);
  }

  /// As ask(), again after every change until `question` has an answer or `wait` is over; then `otherwise`.
  template <class Question, class Otherwise>
  auto ask_until(std::chrono::milliseconds wait, Question question, Otherwise otherwise)
      -> decltype(otherwise());

  /// Something that a long poll may look at has changed.
  void look();

  const BrokerConfig config;
  Store& store;
  const BlobStore& blobs;
  Clock& clock;
  Loop& loop;
  Executor& executor;
  Journal journal;
  CrashPoints crash;
  std::unique_ptr<Hosts> hosts;
  std::unique_ptr<Labs> labs;
  std::unique_ptr<Jobs> jobs;
  std::unique_ptr<Builds> builds;
  std::unique_ptr<Logs> logs;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<Execs> execs;
  std::unique_ptr<Rewirings> rewirings;
  bool stopped = false;

  /// Takes the next number of a kind ("job", "exec"), durably.
  [[nodiscard]] std::uint64_t next_number(const std::string& kind);

 private:
  void flush_soon();
  void flush_now();
  [[nodiscard]] bool wait_for(const std::shared_ptr<LongPoll>& poll, std::chrono::milliseconds wait);

  std::vector<std::shared_ptr<LongPoll>> polls_;
  std::map<std::string, std::uint64_t> numbers_;
  bool flush_posted_ = false;
};

inline constexpr std::chrono::milliseconds kLongestWait{25'000};

template <class Question, class Otherwise>
auto Core::ask_until(std::chrono::milliseconds wait, Question question, Otherwise otherwise)
    -> decltype(otherwise()) {
  using Answer = decltype(otherwise());
  auto found = std::make_shared<std::optional<Answer>>();
  auto poll = std::make_shared<LongPoll>();
  poll->look = [found, question]() mutable {
    *found = question();
    return found->has_value();
  };
  std::optional<Answer> now;
  const bool ran = loop.call([&] {
    if (stopped) return;
    if (const auto flushed = journal.flush(); !flushed)
      now.emplace(flushed.error());
    else if (poll->look())
      now = std::move(*found);
    else if (wait.count() > 0)
      polls_.push_back(poll);
    else
      now.emplace(otherwise());
  });
  if (!ran) return Error(ErrorCode::kUnavailable, "the broker is stopping");
  if (now) return std::move(*now);
  if (wait_for(poll, std::min(wait, kLongestWait)) && found->has_value()) return std::move(**found);
  return ask([&]() -> Answer { return found->has_value() ? std::move(**found) : otherwise(); });
}

}  // namespace mvm::broker
