#pragma once
// Delivers changes to watchers, in order, on a thread that exists while anybody watches.

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mvm/broker/store.h"

namespace mvm::broker {

class Watchers {
 public:
  Watchers();
  ~Watchers();
  Watchers(const Watchers&) = delete;
  Watchers& operator=(const Watchers&) = delete;
  [[nodiscard]] std::unique_ptr<Watch> add(std::string prefix, Store::Watcher watcher);
  /// Hands over the changes of one commit.
  void publish(std::vector<Change> changes);
  [[nodiscard]] bool watched() const;

 private:
  struct State;
  class Handle;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace mvm::broker
