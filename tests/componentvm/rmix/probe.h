#pragma once
// The service that the conformance suite calls.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "probe.rmix.h"

namespace mvm::rmix::test {

class ProbeImpl final : public ProbeServer {
 public:
  Reply<Everything> echo(Everything value) override { return value; }
  Reply<Bytes> echo_bytes(Bytes value) override { return value; }
  Reply<std::vector<double>> echo_numbers(std::vector<double> value) override { return value; }
  Reply<Point> walk(Point from, double distance) override {
    if (std::isnan(distance)) return Nowhere{};
    if (distance > 1000) return TooFar{.distance = distance, .where = from};
    return Point{from.x + distance, from.y};
  }
  Reply<void> stumble(std::string why) override { return Error(ErrorCode::kConflict, why); }
  Reply<void> append(std::string text) override {
    const std::lock_guard lock(mutex_);
    list_.push_back(std::move(text));
    return {};
  }
  Status note(std::string text) override {
    const std::lock_guard lock(mutex_);
    list_.push_back(std::move(text));
    return ok();
  }
  Reply<std::vector<std::string>> list() override {
    const std::lock_guard lock(mutex_);
    return list_;
  }
  Reply<bool> hold() override {
    std::unique_lock lock(mutex_);
    ++holding_;
    const std::uint64_t before = releases_;
    bool told = false;
    while (releases_ == before && !told) {
      changed_.wait_for(lock, std::chrono::milliseconds(2));
      // Its deadline alone does not end it: who waits sees that pass.
      told = context().ticket != nullptr && context().ticket->cancelled();
    }
    --holding_;
    return !told;
  }
  Reply<std::uint32_t> holding() override {
    const std::lock_guard lock(mutex_);
    return holding_;
  }
  Reply<void> release() override {
    const std::lock_guard lock(mutex_);
    ++releases_;
    changed_.notify_all();
    return {};
  }
  Reply<std::uint64_t> count() override {
    const std::lock_guard lock(mutex_);
    return ++count_;
  }
  Reply<std::int64_t> double_(std::int64_t int_) override { return 2 * int_; }
  Reply<std::string> who() override {
    const Caller& caller = context().caller;
    return caller.scheme + " " + caller.token + " " + (caller.uid ? std::to_string(*caller.uid) : "-");
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> list_;
  std::uint32_t holding_ = 0;
  std::uint64_t releases_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace mvm::rmix::test
