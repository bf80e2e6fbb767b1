// The majority is dead, and known to be: those who live agree, all of them, and go on as a new epoch. ADR
// 156.

#include <algorithm>

#include "core.h"
#include "mvm/base/log.h"

namespace mvm::replica {

/// Whether confirmed deaths have taken the majority of the configuration this member knows; nothing where it
/// knows none.
std::optional<bool> Core::majority_lost() const {
  std::size_t voters = 0;
  std::size_t living = 0;
  for (const wire::Server& server : servers_) {
    if (server.role != RAFT_VOTER) continue;
    ++voters;
    if (roster_.alive(server.id)) ++living;
  }
  if (voters == 0) return std::nullopt;
  return living * 2 <= voters;
}

/// The living member with the lowest number leads the recovery; all of the living take part, or there is
/// none.
void Core::recover() {
  if (ended_ || ledger_.group_id == 0 || left_) return;
  if (ledger_.promised != 0 && !raft_ && !raft_closing_) frozen();
  const std::vector<std::uint64_t> living = roster_.living();
  if (living.empty() || living.front() != id() || !active_) {
    attempt_ = {};
    return;
  }
  bool lost = majority_lost().value_or(false);
  for (const std::uint64_t other : living) {
    if (other == id()) continue;
    const auto at = peers_.find(other);
    // Silence blocks: one that may be alive may know more, or act.
    if (at == peers_.end() || !at->second.known || !links_->is_up(other) || !same_epoch(other)) return;
    lost = lost || (at->second.lost && majority_lost().value_or(true));
  }
  if (attempt_.id != 0 && (attempt_.members != living || !lost)) {
    thaw_all(attempt_.id);
    attempt_ = {};
  }
  if (attempt_.id == 0) {
    // Promises for attempts that nobody leads any more.
    for (const std::uint64_t other : living) {
      if (other != id() && peers_[other].promised != 0)
        links_->send(other, wire::encode(wire::Thaw{peers_[other].promised}));
    }
    if (ledger_.promised != 0) {
      ledger_.promised = 0;
      promise_.reset();
      save();
    }
    if (!lost) return;
    std::uint64_t random = 0;
    while (random == 0) RAND_bytes(reinterpret_cast<unsigned char*>(&random), sizeof(random));
    attempt_ = Attempt{random, living, {}, 0};
    log::warning(
        "replica.recovery",
        {{"group", options_.group}, {"id", id()}, {"living", living.size()}, {"epoch", epoch() + 1}});
  }
  if (now() >= attempt_.next_call) {
    attempt_.next_call = now() + static_cast<std::uint64_t>(options_.beat.count()) / 2;
    const std::string freeze = wire::encode(wire::Freeze{epoch() + 1, attempt_.id, attempt_.members});
    for (const std::uint64_t other : living) {
      if (other != id() && !attempt_.promises.contains(other)) links_->send(other, freeze);
    }
  }
  std::size_t promised = 0;
  for (const std::uint64_t other : living)
    promised += other != id() && attempt_.promises.contains(other) ? 1U : 0U;
  if (promised + 1 < living.size()) return;
  // Last of all this member stops as well; until here it could have been needed for a majority after all.
  if (ledger_.promised != attempt_.id) {
    ledger_.promised = attempt_.id;
    promise_.reset();
    if (!save()) return;
  }
  if (raft_ || raft_closing_) return;  // evaluated again once it has stopped
  frozen();
  decide();
}

void Core::frozen() {
  if (promise_ && promise_->attempt == ledger_.promised) return;
  auto log = inspect(log_folder(), id());
  if (!log) return end(std::move(log).error());
  servers_ = log->servers;
  promise_ = wire::Promise{ledger_.promised, log->term, log->index};
  const std::uint64_t leads = roster_.living().front();
  if (leads != id()) links_->send(leads, wire::encode(*promise_));
}

void Core::decide() {
  if (ended_ || !promise_ || promise_->attempt != attempt_.id) return;
  std::map<std::uint64_t, wire::Promise> promises = attempt_.promises;
  promises[id()] = *promise_;
  // The best log decides: every entry that was committed and that any of these has is in it. Numbers break
  // ties.
  std::uint64_t decider = 0;
  wire::Promise best;
  for (const auto& [other, promise] : promises) {
    if (!std::binary_search(attempt_.members.begin(), attempt_.members.end(), other)) continue;
    if (decider == 0 ||
        std::pair(promise.last_term, promise.last_index) > std::pair(best.last_term, best.last_index)) {
      decider = other;
      best = promise;
    }
  }
  std::vector<wire::Decision> decisions = ledger_.decisions;
  decisions.push_back(wire::Decision{epoch() + 1, attempt_.id, decider, attempt_.members});
  if (decisions.size() > wire::kMaxDecisions) decisions.erase(decisions.begin());
  log::warning(
      "replica.decided",
      {{"group", options_.group}, {"id", id()}, {"epoch", decisions.back().epoch}, {"decider", decider}});
  adopt(decisions, true);
}

void Core::thaw_all(std::uint64_t attempt) {
  for (const std::uint64_t other : roster_.living()) {
    if (other != id()) links_->send(other, wire::encode(wire::Thaw{attempt}));
  }
  if (ledger_.promised == attempt) {
    ledger_.promised = 0;
    promise_.reset();
    save();
  }
}

void Core::on_freeze(std::uint64_t from, const wire::Freeze& freeze) {
  const std::vector<std::uint64_t> living = roster_.living();
  if (ledger_.group_id == 0 || living.empty() || living.front() != from || freeze.members != living ||
      freeze.epoch != epoch() + 1 || !same_epoch(from))
    return;
  // Where this member's configuration still has a living majority, that majority is to be used.
  if (!majority_lost().value_or(true)) return;
  if (ledger_.promised != freeze.attempt) {
    ledger_.promised = freeze.attempt;
    promise_.reset();
    if (!save()) return;
  } else if (promise_ && promise_->attempt == freeze.attempt) {
    links_->send(from, wire::encode(*promise_));
  }
  uv_async_send(&wake_);
}

void Core::on_promise(std::uint64_t from, const wire::Promise& promise) {
  if (attempt_.id == 0 || promise.attempt != attempt_.id) return;
  attempt_.promises[from] = promise;
  uv_async_send(&wake_);
}

void Core::on_thaw(std::uint64_t from, const wire::Thaw& thaw) {
  const std::vector<std::uint64_t> living = roster_.living();
  if (living.empty() || living.front() != from || ledger_.promised == 0 || ledger_.promised != thaw.attempt)
    return;
  ledger_.promised = 0;
  promise_.reset();
  save();
  uv_async_send(&wake_);
}

}  // namespace mvm::replica
