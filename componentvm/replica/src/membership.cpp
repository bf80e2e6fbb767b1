// Who belongs to the group, whose word counts, and when this member may act. ADR 155, 156.

#include <algorithm>
#include <utility>

#include "core.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"

namespace mvm::replica {

Status Core::bootstrap(const std::vector<Member>& members) {
  std::vector<Member> sorted = members;
  std::sort(sorted.begin(), sorted.end(), [](const Member& a, const Member& b) { return a.id < b.id; });
  if (sorted.size() > options_.limits.members || sorted.empty())
    return Error(ErrorCode::kInvalid,
                 "bootstrap: expected 1 to " + std::to_string(options_.limits.members) + " members");
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i].id == 0 || (i > 0 && sorted[i].id == sorted[i - 1].id))
      return Error(ErrorCode::kInvalid, "bootstrap: every member needs a number of its own, not 0");
    MVM_TRY(parse_address(sorted[i].address));
  }
  if (std::none_of(sorted.begin(), sorted.end(), [this](const Member& one) {
        return one.id == options_.self.id && one.address == options_.self.address;
      })) {
    return Error(ErrorCode::kInvalid, "bootstrap: this member, " + std::to_string(options_.self.id) + " at " +
                                          options_.self.address + ", is not in the list");
  }
  return call_in([this, sorted]() -> Status {
    if (ended_) return *ended_;
    if (ledger_.group_id != 0) return ok();
    std::string text = options_.group;
    std::vector<wire::Server> servers;
    for (const Member& member : sorted) {
      text += "\n" + std::to_string(member.id) + " " + member.address;
      servers.push_back(wire::Server{
          member.id,
          static_cast<std::uint8_t>(servers.size() < options_.limits.voters ? RAFT_VOTER : RAFT_STANDBY)});
    }
    MVM_TRY(write_first(log_folder(), id(), servers));
    servers_ = servers;
    for (const Member& member : sorted)
      roster_.merge(RosterEntry{member.id, member.address, member.id == id() ? ledger_.life : 0, 0, false});
    // The same list makes the same group, and two groups of one name are told apart.
    ledger_.group_id = std::stoull(sha256_hex(text).substr(0, 15), nullptr, 16) | 1U;
    if (!save()) return *ended_;
    for (const auto& [other, peer] : std::map<std::uint64_t, Peer>(peers_)) {
      if (peer.known) merge_state(peer.state);
    }
    return ok();
  });
}

Status Core::join(const std::vector<Member>& contacts) {
  for (const Member& contact : contacts) {
    if (contact.id == 0) return Error(ErrorCode::kInvalid, "join: a contact's number must not be 0");
    MVM_TRY(parse_address(contact.address));
  }
  return call_in([this, contacts]() -> Status {
    if (ended_) return *ended_;
    contacts_ = contacts;
    joining_ = ledger_.group_id == 0;
    for (const auto& [other, peer] : std::map<std::uint64_t, Peer>(peers_)) {
      if (peer.known) take_state(other, peer.state);
    }
    return ok();
  });
}

void Core::confirm_death(Life life) {
  post([this, life] {
    if (life.id == id() || life.life == 0) return;
    if (facts_.size() < wire::kMaxRoster) facts_[life.id] = std::max(facts_[life.id], life.life);
  });
}

void Core::confirm_lost(std::uint64_t other) {
  post([this, other] {
    if (other != id() && !ended_ && roster_.retire(other)) save();
  });
}

void Core::leave(DoneStatus done) {
  auto shared = std::make_shared<DoneStatus>(std::move(done));
  post([this, shared] {
    if (ended_ || left_) return (*shared)(Error(ErrorCode::kConflict, "this member's part is over already"));
    left_ = std::move(*shared);
    leave_deadline_ = now() + 3000;
    if (raft_ && !raft_closing_) raft_->hand_over();
  });
}

void Core::take_state(std::uint64_t from, wire::State state) {
  if (state.id != from) return;
  Peer& peer = peers_[from];
  if (peer.known && state.life < peer.state.life) return;
  peer.promised = state.promised;
  peer.state = std::move(state);
  peer.known = true;
  if (ledger_.group_id == 0 && joining_ && peer.state.group_id != 0) {
    joining_ = false;
    // Whatever this folder's log holds belongs to no group.
    if (auto cleared = remove_tree(log_folder()); !cleared) return end(std::move(cleared).error());
    if (auto made = make_folders(log_folder(), 0700); !made) return end(std::move(made).error());
    servers_.clear();
    ledger_.group_id = peer.state.group_id;
    roster_.merge(RosterEntry{id(), options_.self.address, ledger_.life, 0, false});
    ledger_.decisions = peer.state.decisions;
  }
  if (ledger_.group_id == 0) return;
  merge_state(peer.state);
  if (!ended_ && peer.state.group_id == ledger_.group_id) consider(from, wire::State(peer.state));
  uv_async_send(&wake_);
}

void Core::merge_state(const wire::State& state) {
  bool changed = false;
  for (const RosterEntry& entry : state.roster) {
    // A newcomer of no group speaks for itself alone.
    if (state.group_id == 0 && entry.id != state.id) continue;
    if (roster_.find(entry.id) == nullptr && roster_.size() >= wire::kMaxRoster) continue;
    changed = roster_.merge(entry) || changed;
  }
  const RosterEntry* mine = roster_.find(id());
  if (mine != nullptr && (mine->gone || mine->dead_life >= ledger_.life) && !left_) {
    return end(Error(ErrorCode::kRefused,
                     "this life of member " + std::to_string(id()) + " was counted dead by the others"));
  }
  if (changed) save();
}

/// Deaths count from those who act. One that has just come back knows less than the others may: what it is
/// told waits until they have taken it in, or else two that came back could bury the one that went on without
/// them.
void Core::apply_facts() {
  if (!active_ || facts_.empty()) return;
  bool changed = false;
  std::erase_if(facts_, [&](const auto& fact) {
    const auto& [other, life] = fact;
    if (roster_.find(other) == nullptr) return false;  // may still come
    changed = roster_.bury(other, life) || changed;
    return true;
  });
  if (changed) save();
}

/// Whether this member's last life was counted dead by others, who may since have gone on without it.
bool Core::excluded(std::uint64_t other) const {
  const RosterEntry* entry = roster_.find(other);
  return entry == nullptr || entry->gone || (entry->life > 1 && entry->dead_life + 1 >= entry->life);
}

/// Decisions of another epoch than ours: follow them, or not.
void Core::consider(std::uint64_t from, const wire::State& state) {
  if (state.decisions == ledger_.decisions) return;
  const std::uint64_t theirs = state.decisions.empty() ? 0 : state.decisions.back().epoch;
  const auto has_me = [this](const wire::Decision& decision) {
    return std::binary_search(decision.members.begin(), decision.members.end(), id());
  };
  const bool promised =
      !state.decisions.empty() && ledger_.promised != 0 && ledger_.promised == state.decisions.back().attempt;
  const bool newer = theirs > epoch();
  if (active_ || promised) {
    // Whoever acts follows only what it has stopped for itself.
    if (promised && newer && has_me(state.decisions.back()) && (state.active || !excluded(from)))
      adopt(state.decisions, true);
    return;
  }
  if (!state.active && (excluded(from) || (!newer && !excluded(id())))) return;
  // Our log goes on in theirs where every recovery since counted us in.
  bool keep = theirs >= epoch();
  std::size_t first = 0;
  if (!ledger_.decisions.empty()) {
    const auto at = std::find(state.decisions.begin(), state.decisions.end(), ledger_.decisions.back());
    keep = keep && at != state.decisions.end();
    first = at == state.decisions.end() ? 0 : static_cast<std::size_t>(at - state.decisions.begin()) + 1;
  } else {
    keep = keep && state.decisions.front().epoch == 1;
  }
  for (std::size_t i = first; i < state.decisions.size(); ++i) keep = keep && has_me(state.decisions[i]);
  adopt(state.decisions, keep);
}

void Core::adopt(const std::vector<wire::Decision>& decisions, bool keep) {
  log::info("replica.epoch", {{"group", options_.group},
                              {"id", id()},
                              {"epoch", decisions.empty() ? 0 : decisions.back().epoch},
                              {"keeps_log", keep}});
  ledger_.decisions = decisions;
  ledger_.promised = 0;
  ledger_.discard = ledger_.discard || !keep;
  promise_.reset();
  attempt_ = {};
  save();
  reopen_ = true;  // a run of libraft belongs to one epoch
}

bool Core::same_epoch(std::uint64_t other) const {
  const auto at = peers_.find(other);
  return at != peers_.end() && at->second.known && at->second.state.decisions == ledger_.decisions;
}

void Core::keep_links() {
  for (const RosterEntry& entry : roster_.entries()) {
    if (entry.id == id()) continue;
    if (entry.alive()) {
      links_->want(entry.id, entry.address);
    } else {
      links_->forget(entry.id);
      links_->cut(entry.id);
    }
  }
  for (const Member& contact : contacts_) {
    if (contact.id != id() && roster_.find(contact.id) == nullptr) links_->want(contact.id, contact.address);
  }
  if (ledger_.group_id == 0) return;
  // A newcomer is called back even before it is in the roster.
  for (const auto& [other, peer] : peers_) {
    if (peer.known && roster_.find(other) == nullptr && roster_.size() < wire::kMaxRoster) {
      merge_state(wire::State(peer.state));
      return;
    }
  }
}

/// This life may act once every living member has it on disk: whoever recovers later then knows of it. ADR
/// 155.
void Core::try_to_act() {
  if (active_ || ended_ || ledger_.group_id == 0 || !roster_.alive(id())) return;
  for (const std::uint64_t other : roster_.living()) {
    if (other == id()) continue;
    const auto at = peers_.find(other);
    if (at == peers_.end() || !at->second.known || !same_epoch(other)) return;
    const std::vector<RosterEntry>& noted = at->second.state.roster;
    const bool has_me = std::any_of(noted.begin(), noted.end(), [this](const RosterEntry& entry) {
      return entry.id == id() && entry.life >= ledger_.life;
    });
    if (!has_me || at->second.state.group_id != ledger_.group_id) return;
  }
  active_ = true;
  log::info("replica.active",
            {{"group", options_.group}, {"id", id()}, {"life", ledger_.life}, {"epoch", epoch()}});
  tell_all();
  apply_facts();
}

void Core::run_or_stop_raft() {
  const bool wanted = active_ && !ended_ && ledger_.promised == 0;
  if (raft_ && !raft_closing_ && (!wanted || reopen_)) return stop_raft();
  if (!raft_ && !raft_closing_ && wanted && !shutting_down_) {
    if (auto status = start_raft(); !status) end(std::move(status).error());
  }
}

Status Core::start_raft() {
  reopen_ = false;
  if (ledger_.discard) {
    // The copy of an epoch that ended elsewhere is kept aside, for a person to look at.
    const std::filesystem::path aside =
        options_.folder / ("former-" + std::to_string(epoch()) + "-" + std::to_string(ledger_.life));
    MVM_TRY(remove_tree(aside));
    std::error_code fault;
    std::filesystem::rename(log_folder(), aside, fault);
    if (fault && fault != std::errc::no_such_file_or_directory)
      return Error(ErrorCode::kIo, "set aside " + log_folder().string() + ": " + fault.message());
    MVM_TRY(make_folders(log_folder(), 0700));
    ledger_.discard = false;
    servers_.clear();
    if (!save()) return *ended_;
    MVM_TRY(machine_.restore(pristine_));
    machine_applied_ = 0;
  }
  if (epoch() != 0) {
    const wire::Decision& decision = ledger_.decisions.back();
    const std::uint64_t term = (epoch() << 32U) | 1U;
    if (decision.decider == id()) {
      MVM_ASSIGN(const LogEnd log, inspect(log_folder(), id()));
      std::vector<wire::Server> servers;
      for (wire::Server server : log.servers) {
        if (!std::binary_search(decision.members.begin(), decision.members.end(), server.id)) continue;
        if (server.id == id()) server.role = RAFT_VOTER;
        servers.push_back(server);
      }
      if (std::none_of(servers.begin(), servers.end(),
                       [this](const wire::Server& one) { return one.id == id(); }))
        servers.push_back(wire::Server{id(), RAFT_VOTER});
      // Again after a crash: a log that has reached the term already stays as it is.
      MVM_TRY(append_configuration(log_folder(), id(), term, servers));
    }
    MVM_TRY(raise_term(log_folder(), id(), term));
  }
  Consensus::Settings settings;
  settings.loop = &loop_;
  settings.log = log_folder();
  settings.id = id();
  settings.epoch = epoch();
  settings.beat = options_.beat;
  settings.snapshot_every = options_.limits.snapshot_every;
  MVM_ASSIGN(raft_, Consensus::start(std::move(settings), *this));
  servers_ = raft_->servers();
  uv_async_send(&wake_);
  return ok();
}

void Core::stop_raft() {
  raft_closing_ = true;
  ready_ = false;
  for (Held& held : std::exchange(held_, {}))
    held.then(Error(ErrorCode::kUnavailable, "the leader stopped before all had the command"));
  raft_->close([this] {
    // Freed outside its own callback.
    Consensus* raw = raft_.release();
    raft_closing_ = false;
    for (Ordered& then : std::exchange(next_reads_, {}))
      then(Error(ErrorCode::kConflict, "this member leads no more"));
    read_running_ = false;
    delete raw;  // NOLINT: close() allows it from here on
    if (shutting_down_) return finish_shut_down();
    uv_async_send(&wake_);
  });
}

/// What the leader does for the membership, one change at a time.
void Core::upkeep() {
  if (left_) {
    const bool hands_over = raft_ && !raft_closing_ && raft_->leader() == id() &&
                            roster_.living().size() > 1 && now() + 2000 < leave_deadline_;
    if (!hands_over && roster_.alive(id()) && roster_.retire(id())) save();
    const bool known = std::all_of(peers_.begin(), peers_.end(), [this](const auto& one) {
      const auto& [other, peer] = one;
      if (!roster_.alive(other) || !links_->is_up(other)) return true;
      return std::any_of(peer.state.roster.begin(), peer.state.roster.end(),
                         [this](const RosterEntry& entry) { return entry.id == id() && entry.gone; });
    });
    if (!roster_.alive(id()) && (known || now() >= leave_deadline_))
      end(Error(ErrorCode::kCancelled, "this member has left"));
    return;
  }
  if (!ready_ || !raft_ || raft_closing_ || raft_->changing()) return;
  const std::vector<wire::Server> servers = raft_->servers();
  const auto change = [this](Consensus::Change what, std::uint64_t other) {
    const bool begun = raft_->change(what, other, [](bool) {});
    if (begun)
      log::info("replica.change",
                {{"group", options_.group}, {"what", static_cast<int>(what)}, {"id", other}});
  };
  const auto takes_part = [this](std::uint64_t other) {
    const auto at = peers_.find(other);
    return at != peers_.end() && at->second.known && at->second.state.active && links_->is_up(other) &&
           same_epoch(other);
  };
  std::size_t voters = 0;
  for (const wire::Server& server : servers) {
    if (server.id != id() && !roster_.alive(server.id)) return change(Consensus::Change::kRemove, server.id);
    if (server.role == RAFT_VOTER) ++voters;
  }
  for (const wire::Server& server : servers) {
    if (server.role == RAFT_SPARE) return change(Consensus::Change::kStandBy, server.id);
    if (server.role == RAFT_STANDBY && voters < options_.limits.voters && takes_part(server.id) &&
        raft_->match(server.id) + 256 >= raft_->last_index()) {
      return change(Consensus::Change::kVoter, server.id);
    }
  }
  for (const std::uint64_t other : roster_.living()) {
    const bool in = std::any_of(servers.begin(), servers.end(),
                                [other](const wire::Server& server) { return server.id == other; });
    if (!in && other != id() && takes_part(other)) return change(Consensus::Change::kAdd, other);
  }
}

}  // namespace mvm::replica
