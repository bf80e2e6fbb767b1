#pragma once
// Everything the broker writes, gathered and committed together: what happens in one turn of the loop waits
// for the disk once. Loop thread only.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/broker/loop.h"
#include "mvm/broker/store.h"

namespace mvm::broker {

/// What `events/SEQ` holds beside its number.
struct EventNote {
  std::string event, lab, job, node, detail;
  std::string user;  ///< whose lab or job; empty: for administrators only
};

class Journal {
 public:
  /// `arm` asks the loop for a flush soon; `post` puts a task on the loop.
  Journal(Store& store, Clock& clock, Task arm, std::function<void(Task)> post)
      : store_(store), clock_(clock), arm_(std::move(arm)), post_(std::move(post)) {}

  /// Reads the number of the last event. Before all else.
  [[nodiscard]] Status load(std::uint32_t events_kept);

  void put(std::string key, std::string value);
  void erase(std::string key);
  /// A value of any size, in pieces under `key`.
  void put_large(const std::string& key, const std::string& value);
  void erase_large(const std::string& key);
  void erase_prefix(const std::string& prefix);
  void event(const EventNote& note);

  /// What `change` puts is committed all or not at all (up to kMaxBatch operations; beyond, in order).
  void group(const Task& change);
  /// Posted to the loop once everything put so far is durable.
  void after_commit(Task task);

  /// Commits now. kExhausted, kIo: nothing is lost here, the next flush tries again.
  [[nodiscard]] Status flush();
  [[nodiscard]] bool dirty() const { return !batches_.empty() || !tasks_.empty(); }
  [[nodiscard]] std::uint64_t last_event() const { return last_event_; }

  // Reads see what was put before.
  [[nodiscard]] Result<std::string> get(const std::string& key);
  [[nodiscard]] Result<std::string> get_large(const std::string& key);
  [[nodiscard]] Result<std::vector<Entry>> list(const std::string& prefix, const std::string& after = {},
                                                std::size_t limit = 1000);

 private:
  void add(Operation operation);
  void merge(Batch group);

  Store& store_;
  Clock& clock_;
  Task arm_;
  std::function<void(Task)> post_;
  std::vector<Batch> batches_;
  std::map<std::string, std::size_t> open_;  ///< key → its operation in the last batch
  Batch group_;
  std::map<std::string, std::size_t> group_keys_;
  int depth_ = 0;
  std::vector<Task> tasks_;
  std::uint64_t last_event_ = 0;
  std::uint64_t first_event_ = 1;
  std::uint32_t events_kept_ = 0;
};

}  // namespace mvm::broker
