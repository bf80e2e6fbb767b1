#pragma once
// What several threads use for as long as its owner lends it.

#include <future>
#include <memory>
#include <mutex>
#include <utility>

namespace mvm {

/// At most one thing at a time. Any thread may borrow it; its owner takes it back and knows that nobody uses
/// it any more.
template <class Thing>
class Lent {
 public:
  Lent() = default;
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

  /// Null where nothing is lent. The thing is there as long as the pointer is.
  [[nodiscard]] std::shared_ptr<Thing> borrow() const {
    const std::lock_guard lock(mutex_);
    return thing_;
  }
  /// In place of nothing.
  void lend(std::unique_ptr<Thing> thing) {
    auto gone = std::make_shared<std::promise<void>>();
    const std::lock_guard lock(mutex_);
    gone_ = gone->get_future();
    thing_ = std::shared_ptr<Thing>(thing.release(), [gone](Thing* lent) {
      delete lent;
      gone->set_value();
    });
  }
  /// Nobody can borrow it from here on; `stop` is called with it, so that those who use it let it go. Returns
  /// when it is destroyed, by whoever used it last. False where there was none.
  template <class Stop>
  bool take_back(Stop stop) {
    std::future<void> gone;
    std::shared_ptr<Thing> ours;
    {
      const std::lock_guard lock(mutex_);
      if (!thing_) return false;
      gone = std::move(gone_);
      ours = std::exchange(thing_, nullptr);
    }
    stop(*ours);
    ours.reset();
    gone.wait();
    return true;
  }

 private:
  mutable std::mutex mutex_;
  std::future<void> gone_;
  std::shared_ptr<Thing> thing_;
};

}  // namespace mvm
