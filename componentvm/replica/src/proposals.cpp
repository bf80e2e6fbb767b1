// Commands on their way: to the leader, into its log, back to whoever asked.

#include <algorithm>
#include <utility>

#include "core.h"

namespace mvm::replica {

void Core::propose(std::string command, Done done, std::chrono::milliseconds limit) {
  if (command.empty() || command.size() > options_.limits.command_bytes) {
    return done(Error(ErrorCode::kInvalid, "a command of " + std::to_string(command.size()) +
                                               " bytes: expected 1 to " +
                                               std::to_string(options_.limits.command_bytes)));
  }
  const std::size_t size = command.size();
  if (waiting_ >= options_.limits.pending_proposals ||
      waiting_bytes_ + size > options_.limits.pending_bytes) {
    return done(Error(ErrorCode::kExhausted, "too many commands wait for the leader"));
  }
  ++waiting_;
  waiting_bytes_ += size;
  auto proposal = std::make_shared<Proposal>();
  proposal->command = std::move(command);
  proposal->done = [this, size, done = std::move(done)](Result<Applied> result) {
    --waiting_;
    waiting_bytes_ -= size;
    done(std::move(result));
  };
  proposal->deadline = static_cast<std::uint64_t>(std::max<std::int64_t>(limit.count(), 1));
  {
    const std::lock_guard guard(mutex_);
    if (accepts_posts_) {
      posts_.push_back([this, proposal] { take(std::move(*proposal)); });
      uv_async_send(&wake_);
      return;
    }
  }
  proposal->done(Error(ErrorCode::kConflict, "the replica has stopped"));
}

void Core::barrier(DoneStatus done, std::chrono::milliseconds limit) {
  auto proposal = std::make_shared<Proposal>();
  proposal->reads = true;
  proposal->done = [done = std::move(done)](Result<Applied> result) {
    done(result ? ok() : Status(std::move(result).error()));
  };
  proposal->deadline = static_cast<std::uint64_t>(std::max<std::int64_t>(limit.count(), 1));
  {
    const std::lock_guard guard(mutex_);
    if (accepts_posts_ && posts_.size() < options_.limits.pending_proposals * 4) {
      posts_.push_back([this, proposal] { take(std::move(*proposal)); });
      uv_async_send(&wake_);
      return;
    }
  }
  proposal->done(Error(ErrorCode::kConflict, "the replica has stopped or is overrun"));
}

void Core::take(Proposal proposal) {
  proposal.deadline += now();
  if (ended_ || shutting_down_)
    return proposal.done(Error(ErrorCode::kConflict, "this member's part is over"));
  const std::uint64_t request = next_request_++;
  proposals_.emplace(request, std::move(proposal));
  queue_.push_back(request);
}

void Core::dispatch() {
  if (!raft_ || raft_closing_ || !active_) return;
  const std::uint64_t leader = raft_->leader();
  if (leader == 0 || (leader != id() && !links_->is_up(leader))) return;
  while (!queue_.empty()) {
    const std::uint64_t request = queue_.front();
    const auto at = proposals_.find(request);
    if (at == proposals_.end()) {
      queue_.pop_front();
      continue;
    }
    Proposal& proposal = at->second;
    if (leader == id()) {
      proposal.sent_to = leader;
      queue_.pop_front();
      order(proposal.command, proposal.reads,
            [this, request](Result<Applied> result) { answer(request, std::move(result)); });
    } else {
      if (!links_->send(leader, wire::encode(wire::Propose{request, proposal.reads, proposal.command})))
        return;
      proposal.sent_to = leader;
      queue_.pop_front();
    }
  }
}

void Core::expire() {
  std::vector<std::uint64_t> late;
  for (const auto& [request, proposal] : proposals_) {
    if (now() >= proposal.deadline) late.push_back(request);
  }
  for (const std::uint64_t request : late) {
    const bool sent = proposals_[request].sent_to != 0;
    answer(
        request,
        sent ? Error(ErrorCode::kTimeout, "no answer came in time; nobody knows whether the command is done")
             : Error(ErrorCode::kConflict, "no leader was found in time; the command was never sent"));
  }
}

void Core::answer(std::uint64_t request, Result<Applied> result) {
  const auto at = proposals_.find(request);
  if (at == proposals_.end()) return;
  if (result && at->second.reads && raft_ && !raft_closing_ && raft_->applied() < result->index) {
    reads_.emplace_back(result->index, request);
    return;
  }
  const Done done = std::move(at->second.done);
  proposals_.erase(at);
  done(std::move(result));
}

void Core::finish_reads() {
  if (reads_.empty() || !raft_ || raft_closing_) return;
  std::vector<std::uint64_t> ready;
  std::erase_if(reads_, [&](const auto& read) {
    if (raft_->applied() < read.first) return false;
    ready.push_back(read.second);
    return true;
  });
  for (const std::uint64_t request : ready) answer(request, Applied{raft_->applied(), {}});
}

void Core::fail_all(const Error& why) {
  std::vector<std::uint64_t> all;
  for (const auto& [request, proposal] : proposals_) all.push_back(request);
  for (const std::uint64_t request : all) {
    const bool sent = proposals_[request].sent_to != 0;
    answer(request,
           sent ? Error(ErrorCode::kCancelled, why.message()) : Error(ErrorCode::kConflict, why.message()));
  }
  queue_.clear();
  reads_.clear();
}

void Core::fail_sent_to(std::uint64_t to, const Error& why) {
  std::vector<std::uint64_t> lost;
  for (const auto& [request, proposal] : proposals_) {
    const bool reading = std::any_of(reads_.begin(), reads_.end(),
                                     [asked = request](const auto& read) { return read.second == asked; });
    if (proposal.sent_to == to && !reading) lost.push_back(request);
  }
  for (const std::uint64_t request : lost) {
    Proposal& proposal = proposals_[request];
    if (proposal.reads) {  // nothing happens twice by asking twice
      proposal.sent_to = 0;
      queue_.push_back(request);
    } else {
      answer(request, why);
    }
  }
}

/// On the leader. `then` may come at once.
void Core::order(std::string_view command, bool reads, Ordered then) {
  if (reads) return order_read(std::move(then));
  auto shared = std::make_shared<Ordered>(std::move(then));
  const bool begun =
      raft_ && !raft_closing_ && active_ &&
      raft_->propose(command, [this, shared](bool done, std::uint64_t index, std::string result) {
        if (!done)
          return (*shared)(Error(ErrorCode::kUnavailable,
                                 "the leader lost its office; nobody knows whether the command is done"));
        if (held_.empty() && held_by_all_in_touch(index)) return (*shared)(Applied{index, std::move(result)});
        held_.push_back(Held{index, std::move(result), std::move(*shared)});
      });
  if (!begun)
    (*shared)(Error(ErrorCode::kConflict, "this member does not lead now; the command is not done"));
}

/// Reads that come while one is under way share the next.
void Core::order_read(Ordered then) {
  if (!raft_ || raft_closing_ || raft_->leader() != id())
    return then(Error(ErrorCode::kConflict, "this member does not lead now"));
  if (next_reads_.size() >= options_.limits.pending_proposals)
    return then(Error(ErrorCode::kExhausted, "too many reads wait for the leader"));
  next_reads_.push_back(std::move(then));
  start_reads();
}

void Core::start_reads() {
  if (read_running_ || next_reads_.empty() || !raft_ || raft_closing_) return;
  read_running_ = true;
  auto reads = std::make_shared<std::vector<Ordered>>(std::exchange(next_reads_, {}));
  const auto finish = [this, reads](bool done) {
    read_running_ = false;
    const std::uint64_t index = raft_ ? raft_->committed() : 0;
    for (Ordered& one : *reads) {
      if (done) {
        one(Applied{index, {}});
      } else {
        one(Error(ErrorCode::kConflict, "this member leads no more"));
      }
    }
    uv_async_send(&wake_);  // for the next ones, outside of libraft
  };
  if (!raft_->barrier(finish)) finish(false);
}

/// See Options::patience: a voter is excused by silence, a broken link, death, or not acting.
bool Core::held_by_all_in_touch(std::uint64_t index) const {
  const auto patience = static_cast<std::uint64_t>(options_.patience.count());
  return std::all_of(servers_.begin(), servers_.end(), [&](const wire::Server& server) {
    if (server.role != RAFT_VOTER || server.id == id() || raft_->match(server.id) >= index) return true;
    if (!roster_.alive(server.id) || !links_->is_up(server.id) || links_->heard(server.id) + patience < now())
      return true;
    // One that has come back and does not act yet holds what its former life held, and promises no more.
    const auto at = peers_.find(server.id);
    return at == peers_.end() || !at->second.state.active;
  });
}

void Core::release_held() {
  if (!raft_ || raft_closing_) return;
  if (raft_->state() != Consensus::State::kLeader) {
    for (Held& held : std::exchange(held_, {}))
      held.then(Error(ErrorCode::kUnavailable, "the leader lost its office before all had the command"));
    return;
  }
  while (!held_.empty() && held_by_all_in_touch(held_.front().index)) {
    Held held = std::move(held_.front());
    held_.pop_front();
    held.then(Applied{held.index, std::move(held.result)});
  }
}

void Core::on_propose(std::uint64_t from, const wire::Propose& propose) {
  const std::uint64_t request = propose.request;
  const auto reply = [this, from, request](Result<Applied> result) {
    wire::Answer answer;
    answer.request = request;
    std::string text;
    if (result) {
      answer.index = result->index;
      text = std::move(result->result);
      if (text.size() > options_.limits.result_bytes) {
        result = Error(ErrorCode::kExhausted, "the answer is longer than a command may be");
      }
    }
    if (!result) {
      answer.code = static_cast<std::uint8_t>(1 + static_cast<int>(result.error().code()));
      text = result.error().message().substr(0, wire::kMaxMessage);
    }
    answer.bytes = text;
    links_->send(from, wire::encode(answer));
  };
  if (!roster_.alive(from) || ledger_.promised != 0)
    return reply(Error(ErrorCode::kConflict, "this member takes no commands now"));
  if (held_.size() >= options_.limits.pending_proposals)
    return reply(Error(ErrorCode::kExhausted, "too many commands wait at the leader"));
  order(propose.bytes, propose.reads, reply);
}

void Core::on_answer(std::uint64_t from, const wire::Answer& given) {
  const auto at = proposals_.find(given.request);
  if (at == proposals_.end() || at->second.sent_to != from) return;
  if (given.code == 0) return answer(given.request, Applied{given.index, std::string(given.bytes)});
  const auto code = static_cast<ErrorCode>(given.code - 1);
  if (code == ErrorCode::kConflict &&
      (!raft_ || raft_->leader() != from || now() + 50 < at->second.deadline)) {
    // Surely not done there: whoever leads now may have it.
    at->second.sent_to = 0;
    queue_.push_back(given.request);
    return;
  }
  answer(given.request, Error(code, std::string(given.bytes)));
}

void Core::watch_leader() {
  if (!raft_ || raft_closing_) {
    ready_ = false;
    return;
  }
  const bool leads = raft_->state() == Consensus::State::kLeader;
  if (!leads) {
    ready_ = false;
    ready_term_ = 0;
  } else if (ready_term_ != raft_->term()) {
    ready_term_ = raft_->term();
    const std::uint64_t term = ready_term_;
    const bool begun = raft_->barrier([this, term](bool done) {
      if (done && raft_ && raft_->term() == term) ready_ = true;
      uv_async_send(&wake_);
    });
    if (!begun) ready_term_ = 0;
  }
  const std::uint64_t leader = leads ? (ready_ ? id() : 0) : raft_->leader();
  if (leader == told_leader_ && (leader == 0 || told_term_ == raft_->term())) return;
  told_leader_ = leader;
  told_term_ = raft_->term();
  const RosterEntry* entry = leader != 0 ? roster_.find(leader) : nullptr;
  if (callbacks_.leader_changed)
    callbacks_.leader_changed(Member{leader, entry != nullptr ? entry->address : std::string()}, told_term_);
}

}  // namespace mvm::replica
