#include "journal.h"

#include <utility>

#include "mvm/base/log.h"
#include "records.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kPiece = 900'000;
/// Old events go this many at a time.
constexpr std::uint64_t kTrim = 100;

std::string piece_key(const std::string& key, std::size_t number) { return key + "/" + padded(number); }

}  // namespace

Status Journal::load(std::uint32_t events_kept) {
  events_kept_ = events_kept;
  MVM_ASSIGN(const auto first, store_.list("events/", "", 1));
  if (!first.empty()) first_event_ = std::stoull(first.front().key.substr(7));
  const auto last = store_.get("meta/last-event");
  if (last) last_event_ = std::stoull(last->value);
  return ok();
}

void Journal::add(Operation operation) {
  const auto [found, fresh] = group_keys_.try_emplace(operation.key, group_.size());
  if (fresh)
    group_.push_back(std::move(operation));
  else
    group_[found->second] = std::move(operation);
  if (depth_ == 0) merge(std::exchange(group_, {}));
}

void Journal::merge(Batch group) {
  group_keys_.clear();
  if (batches_.empty() && tasks_.empty()) arm_();
  std::size_t fresh = 0;
  for (const auto& operation : group)
    if (!open_.contains(operation.key)) ++fresh;
  if (batches_.empty() || batches_.back().size() + fresh > kMaxBatch) {
    batches_.emplace_back();
    open_.clear();
  }
  for (auto& operation : group) {
    if (batches_.back().size() == kMaxBatch) {
      batches_.emplace_back();
      open_.clear();
    }
    const auto [found, added] = open_.try_emplace(operation.key, batches_.back().size());
    if (added)
      batches_.back().push_back(std::move(operation));
    else
      batches_.back()[found->second] = std::move(operation);
  }
}

void Journal::put(std::string key, std::string value) { add(broker::put(std::move(key), std::move(value))); }

void Journal::erase(std::string key) { add(broker::erase(std::move(key))); }

void Journal::put_large(const std::string& key, const std::string& value) {
  std::size_t number = 0;
  for (std::size_t at = 0; at == 0 || at < value.size(); at += kPiece)
    put(piece_key(key, number++), value.substr(at, kPiece));
  // A shorter value must not end in pieces of a longer one before it.
  for (;; ++number) {
    if (!store_.get(piece_key(key, number))) break;
    erase(piece_key(key, number));
  }
}

void Journal::erase_large(const std::string& key) { erase_prefix(key + "/"); }

void Journal::erase_prefix(const std::string& prefix) {
  std::string after;
  for (;;) {
    auto page = list(prefix, after, 200);
    if (!page || page->empty()) return;
    after = page->back().key;
    for (auto& entry : *page) erase(std::move(entry.key));
  }
}

void Journal::event(const EventNote& note) {
  ++last_event_;
  group([&] {
    put("events/" + padded(last_event_), dump({{"at", clock_.wall_ms()},
                                               {"event", note.event},
                                               {"lab", note.lab},
                                               {"job", note.job},
                                               {"node", note.node},
                                               {"detail", note.detail.substr(0, 4096)},
                                               {"user", note.user}}));
    put("meta/last-event", std::to_string(last_event_));
  });
  if (last_event_ - first_event_ < events_kept_ + kTrim) return;
  for (std::uint64_t i = 0; i < kTrim; ++i) erase("events/" + padded(first_event_++));
}

void Journal::group(const Task& change) {
  ++depth_;
  change();
  if (--depth_ == 0 && !group_.empty()) merge(std::exchange(group_, {}));
}

void Journal::after_commit(Task task) {
  if (batches_.empty() && tasks_.empty()) arm_();
  tasks_.push_back(std::move(task));
}

Status Journal::flush() {
  if (depth_ > 0) return ok();  // inside a group: it is committed whole, later
  if (!batches_.empty()) {
    const auto results = store_.commit_all(batches_);
    std::size_t done = 0;
    while (done < results.size() && results[done]) ++done;
    if (done < results.size()) {
      const Error error = results[done].error();
      batches_.erase(batches_.begin(), batches_.begin() + static_cast<std::ptrdiff_t>(done));
      log::error("store.commit-failed", {{"error", error.describe()}});
      return error;
    }
    batches_.clear();
    open_.clear();
  }
  for (auto& task : std::exchange(tasks_, {})) post_(std::move(task));
  return ok();
}

Result<std::string> Journal::get(const std::string& key) {
  MVM_TRY(flush());
  MVM_ASSIGN(auto entry, store_.get(key));
  return std::move(entry.value);
}

Result<std::string> Journal::get_large(const std::string& key) {
  MVM_ASSIGN(const auto pieces, list(key + "/", "", 10'000));
  if (pieces.empty()) return Error(ErrorCode::kNotFound, "no such key: " + key);
  std::string value;
  for (const auto& piece : pieces) value += piece.value;
  return value;
}

Result<std::vector<Entry>> Journal::list(const std::string& prefix, const std::string& after,
                                         std::size_t limit) {
  MVM_TRY(flush());
  return store_.list(prefix, after, limit);
}

}  // namespace mvm::broker
