#include "mvm/queuevm/hand_out.h"

#include <algorithm>

namespace mvm::queuevm {

void HandOut::add(const MessageView& message, const std::string& holder, std::uint64_t number) {
  next_number_ = std::max(next_number_, number + 1);
  entries_.push_back(
      {.number = number, .message = message, .client = holder, .done = false, .again = message.redelivered});
}

void HandOut::heard(const std::string& client, std::uint64_t acknowledged, Clock::Instant now) {
  heard_[client] = now;
  for (Entry& entry : entries_)
    if (entry.client == client && entry.number <= acknowledged) entry.done = true;
}

void HandOut::free(const std::string& client) {
  for (Entry& entry : entries_) {
    if (entry.client != client || entry.done) continue;
    entry.client.clear();
    entry.again = true;
  }
}

void HandOut::leave(const std::string& client) {
  free(client);
  heard_.erase(client);
}

bool HandOut::expire(Clock::Instant now) {
  bool freed = false;
  for (auto at = heard_.begin(); at != heard_.end();) {
    if (now - at->second < lease_) {
      ++at;
      continue;
    }
    free(at->first);
    at = heard_.erase(at);
    freed = true;
  }
  return freed;
}

const HandOut::Entry* HandOut::next(const std::string& client, std::uint64_t number) {
  Entry* held = nullptr;
  Entry* unheld = nullptr;
  for (Entry& entry : entries_) {
    if (entry.client == client && !entry.done && entry.number > number &&
        (held == nullptr || entry.number < held->number))
      held = &entry;
    if (entry.client.empty() && unheld == nullptr) unheld = &entry;
  }
  if (held != nullptr || unheld == nullptr) return held;
  unheld->client = client;
  unheld->number = next_number_++;
  return unheld;
}

std::vector<MessageView> HandOut::take_done() {
  std::vector<MessageView> done;
  while (!entries_.empty() && entries_.front().done) {
    done.push_back(entries_.front().message);
    entries_.pop_front();
  }
  return done;
}

bool HandOut::held_by_others(const std::string& client) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return !entry.done && !entry.client.empty() && entry.client != client;
  });
}

}  // namespace mvm::queuevm
