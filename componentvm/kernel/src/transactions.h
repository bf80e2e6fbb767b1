#pragma once
// The kernel's part in commands that several kernels carry out together or not at all. [Harness 000, §2.3]

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "mvm/base/result.h"

namespace mvm::kernel {

/// A command that this kernel is able and willing to carry out, and has done all of that may fail.
struct Prepared {
  nlohmann::json result = nlohmann::json::object();
  std::function<Result<nlohmann::json>()> commit;  ///< its answer
  std::function<void()> abort;
};

/// Thread-safe. What is neither committed nor aborted in time is aborted.
class Transactions {
 public:
  using Preparer = std::function<Result<Prepared>(const nlohmann::json& args, bool kept)>;
  Transactions() = default;
  ~Transactions() { end(); }
  Transactions(const Transactions&) = delete;
  Transactions& operator=(const Transactions&) = delete;

  /// Aborts what is prepared, and prepares nothing more.
  void end();
  /// Before the first prepare().
  void add(const std::string& op, Preparer preparer) { preparers_[op] = std::move(preparer); }
  /// Able and willing, until `hold` has passed; again with the same name: the same answer. kUnsupported: no
  /// such command; kAborted: it was aborted before; what the command itself says. `kept`: as Commands.
  [[nodiscard]] Result<nlohmann::json> prepare(const std::string& id, const std::string& op,
                                               const nlohmann::json& args, bool kept,
                                               std::chrono::milliseconds hold);
  /// The command's answer; again: the same. kNotFound: never prepared, or taken back meanwhile; kConflict: it
  /// is being prepared.
  [[nodiscard]] Result<nlohmann::json> commit(const std::string& id);
  /// Takes it back. No error where there is none: it cannot be prepared any more.
  Status abort(const std::string& id);

 private:
  enum class State { kBusy, kPrepared, kCommitted, kAborted };
  struct Entry {
    State state = State::kBusy;
    Prepared prepared;
    std::chrono::steady_clock::time_point until{};
    nlohmann::json answer;
  };
  using Lock = std::unique_lock<std::mutex>;
  void take_back(Lock& lock, Entry& entry);
  void settle(const std::string& id);
  void watch();

  std::map<std::string, Preparer> preparers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_;
  std::deque<std::string> settled_;  // the oldest are forgotten
  std::thread watcher_;              // while anything is prepared, and a little longer
  std::condition_variable watched_;  // something has to be looked at before watched_until_
  std::chrono::steady_clock::time_point watched_until_{};
  bool watching_ = false;
  bool busy_ = false;  // something was prepared since it looked
  bool ending_ = false;
};

}  // namespace mvm::kernel
