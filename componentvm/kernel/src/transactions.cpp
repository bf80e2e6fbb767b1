#include "transactions.h"

#include <algorithm>
#include <utility>

#include "mvm/base/log.h"

namespace mvm::kernel {
namespace {

constexpr std::size_t kRemembered = 1024;
constexpr std::size_t kMostAtOnce = 256;
constexpr std::size_t kLongestName = 128;
constexpr std::chrono::seconds kLinger{1};

}  // namespace

void Transactions::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
    watched_.notify_all();
  }
  if (watcher_.joinable()) watcher_.join();
  Lock lock(mutex_);
  for (auto& [id, entry] : entries_)
    if (entry.state == State::kPrepared) take_back(lock, entry);
}

/// With the lock, and without it while the command's own code runs. The entry stays: it is busy meanwhile.
void Transactions::take_back(Lock& lock, Entry& entry) {
  entry.state = State::kBusy;
  const Prepared prepared = std::move(entry.prepared);
  entry.prepared = {};
  lock.unlock();
  prepared.abort();
  lock.lock();
  entry.state = State::kAborted;
  changed_.notify_all();
}

/// With the lock. Outcomes are remembered for a while, so that whoever asks again hears the same.
void Transactions::settle(const std::string& id) {
  settled_.push_back(id);
  while (settled_.size() > kRemembered) {
    entries_.erase(settled_.front());
    settled_.pop_front();
  }
  changed_.notify_all();
}

Result<nlohmann::json> Transactions::prepare(const std::string& id, const std::string& op,
                                             const nlohmann::json& args, bool kept,
                                             std::chrono::milliseconds hold) {
  if (id.empty() || id.size() > kLongestName)
    return Error(ErrorCode::kInvalid, "transaction: expected a name of at most 128 bytes");
  const auto preparer = preparers_.find(op);
  if (preparer == preparers_.end())
    return Error(ErrorCode::kUnsupported, "\"" + op.substr(0, 80) + "\" is no command that can be prepared");
  Lock lock(mutex_);
  const auto [at, fresh] = entries_.try_emplace(id);
  Entry& entry = at->second;
  if (!fresh) {
    changed_.wait(lock, [&] { return entry.state != State::kBusy; });
    if (entry.state == State::kAborted)
      return Error(ErrorCode::kAborted, "transaction " + id + " was taken back before");
    return entry.state == State::kPrepared ? entry.prepared.result : entry.answer;
  }
  if (entries_.size() - settled_.size() > kMostAtOnce) {
    entries_.erase(at);
    return Error(ErrorCode::kExhausted, "too many commands are prepared at once");
  }
  lock.unlock();
  auto prepared = preparer->second(args, kept);
  lock.lock();
  if (prepared && ending_) {
    entry.prepared = std::move(*prepared);
    take_back(lock, entry);
    prepared = Error(ErrorCode::kCancelled, "the kernel is ending");
  }
  if (!prepared) {
    entry.state = State::kAborted;
    settle(id);
    return std::move(prepared).error();
  }
  entry.prepared = std::move(*prepared);
  entry.state = State::kPrepared;
  entry.until = std::chrono::steady_clock::now() + hold;
  busy_ = true;
  if (!watching_) {
    if (watcher_.joinable()) watcher_.join();
    watching_ = true;
    watcher_ = std::thread([this] { watch(); });
  } else if (entry.until < watched_until_) {
    watched_.notify_all();
  }
  changed_.notify_all();
  return entry.prepared.result;
}

Result<nlohmann::json> Transactions::commit(const std::string& id) {
  Lock lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end())
    return Error(ErrorCode::kNotFound, "transaction " + id.substr(0, kLongestName) + " is not prepared here");
  Entry& entry = found->second;
  changed_.wait(lock, [&] { return entry.state != State::kBusy; });
  if (entry.state == State::kAborted)
    return Error(ErrorCode::kNotFound, "transaction " + id + " was taken back before the decision came");
  if (entry.state == State::kCommitted) return entry.answer;
  entry.state = State::kBusy;
  const Prepared prepared = std::move(entry.prepared);
  entry.prepared = {};
  lock.unlock();
  auto answer = prepared.commit();
  lock.lock();
  entry.state = answer ? State::kCommitted : State::kAborted;
  if (answer) entry.answer = *answer;
  settle(id);
  return answer;
}

Status Transactions::abort(const std::string& id) {
  if (id.empty() || id.size() > kLongestName)
    return Error(ErrorCode::kInvalid, "transaction: expected a name of at most 128 bytes");
  Lock lock(mutex_);
  const auto [at, fresh] = entries_.try_emplace(id);
  Entry& entry = at->second;
  if (fresh) {  // its prepare, if there is one on its way, comes too late
    entry.state = State::kAborted;
    settle(id);
    return ok();
  }
  changed_.wait(lock, [&] { return entry.state != State::kBusy; });
  if (entry.state == State::kCommitted)
    return Error(ErrorCode::kConflict, "transaction " + id + " is committed");
  if (entry.state == State::kAborted) return ok();
  take_back(lock, entry);
  settle(id);
  return ok();
}

/// Takes back what nobody decided in time; ends when nothing has been prepared for a while: a thread for each
/// of the commands that follow each other would cost more than they do.
void Transactions::watch() {
  Lock lock(mutex_);
  while (!ending_) {
    const auto now = std::chrono::steady_clock::now();
    auto next = std::chrono::steady_clock::time_point::max();
    std::string late;
    for (const auto& [id, entry] : entries_) {
      if (entry.state != State::kPrepared) continue;
      next = std::min(next, entry.until);
      if (entry.until <= now) late = id;
    }
    if (!late.empty()) {
      log::warning("transaction.late", {{"transaction", late}});
      take_back(lock, entries_.at(late));
      settle(late);
      continue;
    }
    const bool idle = next == std::chrono::steady_clock::time_point::max();
    if (idle && !std::exchange(busy_, false)) break;
    watched_until_ = idle ? now + kLinger : next;
    watched_.wait_until(lock, watched_until_);
  }
  watching_ = false;
}

}  // namespace mvm::kernel
