#include <algorithm>

#include "mvm/registry/table.h"

namespace mvm::registry {
namespace {

std::size_t weight(const Event& event) {
  return event.info.name.size() + event.info.owner.size() + (event.item ? event.item->size() : 0) +
         sizeof event;
}

}  // namespace

void History::add(std::uint64_t revision, const std::vector<Event>& events) {
  last_ = revision;
  for (const auto& event : events) {
    bytes_ += weight(event);
    events_.push_back(event);
  }
  // A revision is forgotten as a whole.
  while (events_.size() > max_events_ || bytes_ > max_bytes_) {
    begin_ = events_.front().revision;
    while (!events_.empty() && events_.front().revision == begin_) {
      bytes_ -= weight(events_.front());
      events_.pop_front();
    }
  }
}

Result<Events> History::after(std::uint64_t cursor, std::string_view pattern, std::size_t limit) const {
  if (cursor < begin_ || cursor > last_)
    return Error(ErrorCode::kNotFound, "the changes after revision " + std::to_string(cursor) +
                                           " are not kept (those after " + std::to_string(begin_) +
                                           " up to " + std::to_string(last_) + " are): list again");
  Events found;
  found.cursor = last_;
  auto event = std::upper_bound(events_.begin(), events_.end(), cursor,
                                [](std::uint64_t value, const Event& e) { return value < e.revision; });
  for (; event != events_.end(); ++event) {
    const bool next_revision = found.events.empty() || found.events.back().revision != event->revision;
    if (next_revision && found.events.size() >= limit) {
      found.cursor = event->revision - 1;
      break;
    }
    if (match(pattern, event->info.name)) found.events.push_back(*event);
  }
  return found;
}

}  // namespace mvm::registry
