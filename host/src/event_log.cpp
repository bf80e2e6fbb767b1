#include "event_log.h"

#include <algorithm>

#include "mvm/base/digest.h"

namespace mvm::host {

EventLog::EventLog() : epoch_(random_hex(8)) {}

std::uint64_t EventLog::append(HostEvent event) {
  event.seq = next_++;
  entries_.push_back(std::move(event));
  more_.notify_all();
  return next_ - 1;
}

void EventLog::add(HostEvent event) {
  const std::lock_guard lock(mutex_);
  if (!closed_) append(std::move(event));
}

void EventLog::wake() {
  const std::lock_guard lock(mutex_);
  handled_.notify_all();
}

Status EventLog::deliver(HostEvent event, const std::atomic<bool>& gone) {
  std::unique_lock lock(mutex_);
  if (!closed_) {
    const std::uint64_t seq = append(std::move(event));
    handled_.wait(lock, [&] { return closed_ || gone || handled_up_to_ >= seq; });
    if (handled_up_to_ >= seq) return ok();
  }
  return Error(ErrorCode::kCancelled, "nobody is there to handle the event");
}

HostEvents EventLog::after(const std::string& epoch, std::uint64_t seq, std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  if (epoch == epoch_) {
    while (!entries_.empty() && entries_.front().seq <= seq) entries_.pop_front();
    handled_up_to_ = std::max(handled_up_to_, std::min(seq, next_ - 1));
    handled_.notify_all();
  }
  more_.wait_for(lock, wait, [&] { return closed_ || !entries_.empty(); });
  HostEvents page{.epoch = epoch_, .events = {}};
  std::size_t bytes = 0;
  for (const HostEvent& event : entries_) {
    bytes += event.blob.size() + 256;
    if (page.events.size() >= kMaxPage || (bytes > kMaxPageBytes && !page.events.empty())) break;
    page.events.push_back(event);
  }
  return page;
}

void EventLog::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  more_.notify_all();
  handled_.notify_all();
}

}  // namespace mvm::host
