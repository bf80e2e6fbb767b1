#pragma once
// Plug-in code on threads of the pool, until it is done or told to stop. [Harness 000, §2.3: run, stop]

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mvm/kernel/plugin.h"

namespace mvm::kernel {

/// What is to be run.
struct RunOrder {
  std::string run;  ///< its name, chosen by who asks; empty: one is drawn
  std::string plugin;
  std::string function;  ///< "main" where nothing is said
  std::vector<std::string> arguments;
  std::string notify;  ///< operation that hears {run, plugin, function, ok, reason} at its end; may be empty
};

/// Thread-safe. No lock is held while a plug-in's code runs.
class Runs {
 public:
  struct Hooks {
    /// Gives a thread; never blocks.
    std::function<Status(std::function<void()>)> submit;
    /// How many threads runs may hold.
    std::function<std::size_t()> most;
    /// Runs something as the plug-in of this name.
    std::function<void(const std::string& plugin, const std::function<void()>& body)> as;
    /// Calls an operation, for `notify`.
    std::function<void(const std::string& op, nlohmann::json args)> tell;
  };
  explicit Runs(Hooks hooks) : hooks_(std::move(hooks)) {}
  /// Every plug-in must have been retired.
  ~Runs() = default;
  Runs(const Runs&) = delete;
  Runs& operator=(const Runs&) = delete;

  /// kExists where the plug-in offers that function already.
  Status offer(const std::string& plugin, const std::string& function, RunBody body);
  /// Takes a thread, which waits. Its name; kNotFound: no such function; kExists: such a run is there or was;
  /// kExhausted: too many threads are held.
  [[nodiscard]] Result<std::string> prepare(const RunOrder& order);
  /// Lets a prepared one go on, or takes it back. kNotFound.
  Status release(const std::string& run);
  void drop(const std::string& run);
  /// prepare() and release(). Again with the same name: the run that is there.
  [[nodiscard]] Result<std::string> start(const RunOrder& order);
  /// Tells it to stop; returns at once. kNotFound; no error where it has ended.
  Status stop(const std::string& run);
  /// Tells all runs of a plug-in to stop; how many.
  std::size_t stop_of(const std::string& plugin);
  /// True where there is such a run, or was not long ago.
  [[nodiscard]] bool there(const std::string& run) const;
  [[nodiscard]] std::vector<std::string> functions_of(const std::string& plugin) const;
  /// Those that run, and the latest that ended.
  [[nodiscard]] nlohmann::json list() const;
  /// Takes back what the plug-in offers, tells its runs to stop, and returns when they have.
  void retire(const std::string& plugin);

 private:
  enum class State { kPrepared, kRunning, kStopping, kEnded };
  class One;
  using Ptr = std::shared_ptr<One>;
  void run(const Ptr& one);
  [[nodiscard]] Ptr find(const std::string& run) const;
  void forget_old();

  Hooks hooks_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::map<std::string, std::shared_ptr<RunBody>>> functions_;  // by plug-in
  std::list<Ptr> runs_;  // in the order of their beginning
  std::uint64_t next_ = 1;
};

}  // namespace mvm::kernel
