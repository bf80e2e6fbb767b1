#include "consensus.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "mvm/base/assert.h"
#include "mvm/base/log.h"

namespace mvm::replica {
namespace {

constexpr std::size_t kMostAtOnce = 8 << 20;  ///< of entries in one send; libraft 0.15 sends all there are

/// A command in libraft's log: its length (8 bytes), itself, zeros up to whole words. libraft asserts whole
/// words.
raft_buffer wrap(std::string_view command) {
  const std::size_t size = (8 + command.size() + 7) / 8 * 8;
  raft_buffer buffer{raft_malloc(size), size};
  MVM_ASSERT(buffer.base != nullptr);
  auto* bytes = static_cast<unsigned char*>(buffer.base);
  std::memset(bytes, 0, size);
  for (unsigned i = 0; i < 8; ++i)
    bytes[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(command.size()) >> (8U * i));
  if (!command.empty()) std::memcpy(bytes + 8, command.data(), command.size());
  return buffer;
}

/// Nothing where the bytes are none of wrap()'s.
std::string_view unwrap(const raft_buffer& buffer) {
  if (buffer.len < 8) return {};
  const auto* bytes = static_cast<const unsigned char*>(buffer.base);
  std::uint64_t size = 0;
  for (unsigned i = 8; i > 0; --i) size = (size << 8U) | bytes[i - 1];
  if (size > buffer.len - 8) return {};
  return {static_cast<const char*>(buffer.base) + 8, static_cast<std::size_t>(size)};
}

struct ApplyRequest {
  struct raft_apply request {};
  Consensus::Applied then;
  std::string* result = nullptr;
};
struct BarrierRequest {
  struct raft_barrier request {};
  std::function<void(bool)> then;
};
struct ChangeRequest {
  raft_change request{};
  std::function<void(bool)> then;
};

}  // namespace

Result<std::unique_ptr<Consensus>> Consensus::start(Settings settings, Owner& owner) {
  std::unique_ptr<Consensus> made(new Consensus(std::move(settings), owner));
  if (auto status = made->open(); !status) {
    // What was opened is closed on the loop's time, and freed then.
    Consensus* raw = made.release();
    raw->close([raw] { delete raw; });  // NOLINT
    return std::move(status).error();
  }
  return made;
}

Consensus::~Consensus() = default;

Status Consensus::open() {
  transport_.init = [](raft_uv_transport*, raft_id, const char*) { return 0; };
  transport_.listen = [](raft_uv_transport*, raft_uv_accept_cb) { return 0; };
  transport_.connect = [](raft_uv_transport*, raft_uv_connect*, raft_id, const char*, raft_uv_connect_cb) {
    return RAFT_NOCONNECTION;
  };
  transport_.close = [](raft_uv_transport* transport, raft_uv_transport_close_cb closed) {
    closed(transport);
  };
  const auto error = [this](int code, const char* what, const char* more) {
    return Error(code == RAFT_CORRUPT || code == RAFT_MALFORMED ? ErrorCode::kCorrupt : ErrorCode::kIo,
                 std::string(what) + " " + settings_.log.string() + ": " + raft_strerror(code) + ": " + more);
  };
  if (const int code = raft_uv_init(&io_, settings_.loop, settings_.log.c_str(), &transport_); code != 0)
    return error(code, "open", io_.errmsg);
  override_storage();
  fill_machine();
  raft_.data = this;
  io_.data = &raft_;
  if (const int code = raft_init(&raft_, &io_, &fsm_, settings_.id, std::to_string(settings_.id).c_str());
      code != 0) {
    return error(code, "open", raft_.errmsg);
  }
  started_ = true;
  const auto beat = static_cast<unsigned>(settings_.beat.count());
  raft_set_election_timeout(&raft_, beat);
  raft_set_heartbeat_timeout(&raft_, std::max(beat / 5, 1U));
  raft_set_install_snapshot_timeout(&raft_, std::max(beat * 20, 5000U));
  raft_set_snapshot_threshold(&raft_, settings_.snapshot_every);
  raft_set_snapshot_trailing(&raft_, std::max(settings_.snapshot_every / 4, 16U));
  raft_set_max_catch_up_round_duration(&raft_, std::max(beat * 8, 2000U));
  // Without it a member that was cut off comes back with a higher term and unseats the leader.
  raft_set_pre_vote(&raft_, true);
  if (const int code = raft_start(&raft_); code != 0) return error(code, "start from", raft_.errmsg);
  after();
  return ok();
}

void Consensus::override_storage() {
  real_start_ = io_.start;
  real_append_ = io_.append;
  real_truncate_ = io_.truncate;
  real_snapshot_put_ = io_.snapshot_put;
  real_close_ = io_.close;
  io_.start = [](raft_io* io, unsigned period, raft_io_tick_cb tick, raft_io_recv_cb receive) {
    Consensus& self = of(io);
    self.tick_ = tick;
    self.receive_ = receive;
    const auto ticked = [](raft_io* inner) {
      Consensus& one = of(inner);
      if (one.closing_) return;
      // A follower that has not heard its leader for the shortest time-out lets others stand for election
      // (libraft clears it only when its own, random, time-out ends, and until then refuses its vote).
      if (one.raft_.state == RAFT_FOLLOWER &&
          one.raft_.io->time(inner) - one.raft_.election_timer_start >= one.raft_.election_timeout) {
        one.raft_.follower_state.current_leader.id = 0;
      }
      {
        const Inside inside(one);
        one.tick_(inner);
      }
      one.after();
    };
    return self.real_start_(io, period, ticked, receive);
  };
  io_.send = [](raft_io* io, raft_io_send* request, const raft_message* message, raft_io_send_cb done) {
    return of(io).send(request, message, done);
  };
  io_.append = [](raft_io* io, raft_io_append* request, const raft_entry* entries, unsigned count,
                  raft_io_append_cb done) {
    Consensus& self = of(io);
    self.appends_[request] = Append{done, self.truncating_};
    const int code = self.real_append_(io, request, entries, count, [](raft_io_append* finished, int status) {
      // `data` of every such request of libraft begins with its raft.
      Consensus& one = *static_cast<Consensus*>((*static_cast<raft**>(finished->data))->data);
      const Append append = one.appends_[finished];
      one.appends_.erase(finished);
      if (append.after_cut && std::none_of(one.appends_.begin(), one.appends_.end(),
                                           [](const auto& other) { return !other.second.after_cut; })) {
        one.truncating_ = false;
        if (one.reopen_after_cut_) one.reopen_ = true;
      }
      if (status != 0) {
        // libraft cuts its log at each leader's append that failed: oldest first, as the storage tells them,
        // the second cut begins behind the end and runs wild. They are told newest first, at the close that
        // has to follow.
        one.failed_appends_.push_back(FailedAppend{finished, append.done, status});
        if (!one.closing_)
          one.owner_.failed(Error(ErrorCode::kIo,
                                  "write the log in " + one.settings_.log.string() + ": " + one.io_.errmsg));
        return;
      }
      {
        const Inside inside(one);
        append.done(finished, status);
      }
      if (!one.closing_) one.after();
    });
    if (code != 0) self.appends_.erase(request);
    return code;
  };
  io_.truncate = [](raft_io* io, raft_index index) { return of(io).cut(index); };
  io_.snapshot_put = [](raft_io* io, unsigned trailing, raft_io_snapshot_put* request,
                        const raft_snapshot* snapshot, raft_io_snapshot_put_cb done) {
    Consensus& self = of(io);
    // A second barrier of the storage, while one holds all its segments, is forgotten (canonical/raft#372).
    if (self.truncating_) {
      self.reopen_ = true;
      return RAFT_BUSY;
    }
    return self.real_snapshot_put_(io, trailing, request, snapshot, done);
  };
  io_.close = [](raft_io* io, raft_io_close_cb closed) {
    Consensus& self = of(io);
    // What waits to be sent refers to the log, which is freed next.
    for (auto& [token, pending] : std::exchange(*self.sends_, {}))
      if (pending.done != nullptr) pending.done(pending.request, RAFT_CANCELED);
    self.real_close_(io, closed);  // its end comes later on the loop, never from within
    std::vector<FailedAppend> failed = std::exchange(self.failed_appends_, {});
    for (auto one = failed.rbegin(); one != failed.rend(); ++one) one->done(one->request, one->status);
  };
}

int Consensus::cut(raft_index index) {
  if (snapshot_pending() || truncating_) {  // the same barrier, see snapshot_put
    reopen_ = true;
    return RAFT_CANCELED;
  }
  // libraft takes every configuration it finds in its log at start for a committed one, and does not roll it
  // back when it is cut off; reading the log anew does.
  if (index <= raft_.configuration_index && raft_.configuration_uncommitted_index == 0)
    reopen_after_cut_ = true;
  truncating_ = true;
  return real_truncate_(&io_, index);
}

void Consensus::fill_machine() {
  fsm_.version = 1;
  fsm_.data = this;
  fsm_.apply = [](raft_fsm* fsm, const raft_buffer* buffer, void** result) {
    Consensus& self = of(fsm);
    *result = nullptr;
    self.result_ = self.owner_.apply(self.raft_.last_applied + 1, unwrap(*buffer));
    return 0;
  };
  fsm_.snapshot = [](raft_fsm* fsm, raft_buffer* buffers[], unsigned* count) {
    Consensus& self = of(fsm);
    if (self.truncating_ || self.reopen_) return RAFT_BUSY;  // later; see snapshot_put
    const std::optional<std::string> bytes = self.owner_.snapshot(self.raft_.last_applied);
    if (!bytes) return RAFT_BUSY;
    auto* made = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
    if (made == nullptr) return RAFT_NOMEM;
    // Whole words here as well, with the length before them.
    made[0] = wrap(*bytes);
    *buffers = made;
    *count = 1;
    return 0;
  };
  fsm_.restore = [](raft_fsm* fsm, raft_buffer* buffer) {
    Consensus& self = of(fsm);
    const bool good = self.owner_.restore(unwrap(*buffer));
    if (!good) return RAFT_CORRUPT;
    raft_free(buffer->base);
    return 0;
  };
}

void Consensus::close(std::function<void()> closed) {
  MVM_ASSERT(!closing_);
  closing_ = true;
  closed_ = std::move(closed);
  if (!started_) {  // raft_init failed or never came
    if (io_.impl != nullptr) raft_uv_close(&io_);
    return std::exchange(closed_, {})();
  }
  raft_close(&raft_, [](raft* closed_raft) {
    auto& self = *static_cast<Consensus*>(closed_raft->data);
    raft_uv_close(&self.io_);
    std::exchange(self.closed_, {})();
  });
}

bool Consensus::propose(std::string_view command, Applied then) {
  if (closing_ || reopen_ || inside_ != 0 || raft_.state != RAFT_LEADER) return false;
  auto request = std::make_unique<ApplyRequest>();
  request->then = std::move(then);
  request->result = &result_;
  request->request.data = request.get();
  const raft_buffer buffer = wrap(command);
  const int code =
      raft_apply(&raft_, &request->request, &buffer, 1, [](struct raft_apply* done, int status, void*) {
        const std::unique_ptr<ApplyRequest> mine(static_cast<ApplyRequest*>(done->data));
        mine->then(status == 0, done->index, status == 0 ? std::move(*mine->result) : std::string());
      });
  if (code != 0) {
    raft_free(buffer.base);
    return false;
  }
  (void)request.release();  // the callback's
  return true;
}

bool Consensus::barrier(std::function<void(bool)> then) {
  if (closing_ || reopen_ || inside_ != 0 || raft_.state != RAFT_LEADER) return false;
  auto request = std::make_unique<BarrierRequest>();
  request->then = std::move(then);
  request->request.data = request.get();
  const int code = raft_barrier(&raft_, &request->request, [](struct raft_barrier* done, int status) {
    const std::unique_ptr<BarrierRequest> mine(static_cast<BarrierRequest*>(done->data));
    mine->then(status == 0);
  });
  if (code != 0) return false;
  (void)request.release();
  return true;
}

bool Consensus::changing() const {
  return raft_.state != RAFT_LEADER || raft_.configuration_uncommitted_index != 0 ||
         raft_.leader_state.promotee_id != 0 || raft_.leader_state.change != nullptr ||
         raft_.transfer != nullptr;
}

bool Consensus::change(Change what, std::uint64_t id, std::function<void(bool)> then) {
  if (closing_ || reopen_ || inside_ != 0 || changing()) return false;
  auto request = std::make_unique<ChangeRequest>();
  request->then = std::move(then);
  request->request.data = request.get();
  const auto done = [](raft_change* finished, int status) {
    const std::unique_ptr<ChangeRequest> mine(static_cast<ChangeRequest*>(finished->data));
    mine->then(status == 0);
  };
  int code = 0;
  switch (what) {
    case Change::kAdd:
      code = raft_add(&raft_, &request->request, id, std::to_string(id).c_str(), done);
      break;
    case Change::kStandBy:
      code = raft_assign(&raft_, &request->request, id, RAFT_STANDBY, done);
      break;
    case Change::kVoter:
      code = raft_assign(&raft_, &request->request, id, RAFT_VOTER, done);
      break;
    case Change::kRemove:
      code = raft_remove(&raft_, &request->request, id, done);
      break;
  }
  if (code != 0) {
    // raft_assign leaves the request in place where its own append failed.
    if (raft_.state == RAFT_LEADER && raft_.leader_state.change == &request->request)
      raft_.leader_state.change = nullptr;
    return false;
  }
  (void)request.release();
  return true;
}

void Consensus::hand_over() {
  if (closing_ || inside_ != 0 || handed_over_ || raft_.state != RAFT_LEADER || raft_.transfer != nullptr)
    return;
  // Once in a run: libraft's message about it may be on its way longer than it remembers the transfer, which
  // it is a part of.
  handed_over_ = raft_transfer(&raft_, &transfer_, 0, [](struct raft_transfer*) {}) == 0;
}

std::uint64_t Consensus::last_index() const { return raft_last_index(const_cast<raft*>(&raft_)); }

std::uint64_t Consensus::last_term() const {
  const raft_log& log = raft_.log;
  if (log.size == 0 || log.front == log.back) return log.snapshot.last_term;
  return log.entries[(log.back + log.size - 1) % log.size].term;
}

Consensus::State Consensus::state() const {
  switch (raft_.state) {
    case RAFT_FOLLOWER:
      return State::kFollower;
    case RAFT_CANDIDATE:
      return State::kCandidate;
    case RAFT_LEADER:
      return State::kLeader;
    default:
      return State::kUnavailable;
  }
}

std::uint64_t Consensus::leader() const {
  if (raft_.state == RAFT_LEADER) return raft_.id;
  return raft_.state == RAFT_FOLLOWER ? raft_.follower_state.current_leader.id : 0;
}

std::uint64_t Consensus::match(std::uint64_t id) const {
  if (raft_.state != RAFT_LEADER) return 0;
  for (unsigned i = 0; i < raft_.configuration.n; ++i) {
    if (raft_.configuration.servers[i].id == id) return raft_.leader_state.progress[i].match_index;
  }
  return 0;
}

std::vector<wire::Server> Consensus::servers() const {
  std::vector<wire::Server> all;
  for (unsigned i = 0; i < raft_.configuration.n; ++i) {
    const raft_server& server = raft_.configuration.servers[i];
    all.push_back(wire::Server{server.id, static_cast<std::uint8_t>(server.role)});
  }
  return all;
}

void Consensus::lost_link(std::uint64_t id, unsigned rank) {
  if (closing_ || raft_.state != RAFT_FOLLOWER || raft_.follower_state.current_leader.id != id) return;
  const raft_time now = io_.time(&io_);
  raft_.follower_state.current_leader.id = 0;
  raft_.election_timer_start = now - std::min<raft_time>(raft_.election_timeout, now);
  // Each of those who noticed waits a little longer than the one before it, so that they do not split the
  // votes.
  raft_.follower_state.randomized_election_timeout =
      raft_.election_timeout + rank * raft_.heartbeat_timeout * 2;
}

/// Whether the log on disk ends in this leader's own term. Until then libraft 0.15 would count copies of
/// older entries as if that committed them (the raft paper's figure 8: a later leader may still replace
/// them), so no answers may reach it.
bool Consensus::own_term_stored() const {
  return raft_.last_stored >= barrier_index_ && barrier_term_ == raft_.current_term;
}

void Consensus::after() {
  if (closing_) return;
  for (const std::uint64_t token : std::exchange(refused_, {})) {
    const auto at = sends_->find(token);
    if (at == sends_->end()) continue;
    const Pending pending = at->second;
    sends_->erase(at);
    if (pending.done != nullptr) pending.done(pending.request, RAFT_NOCONNECTION);
  }
  if (raft_.state == RAFT_LEADER && barrier_term_ != raft_.current_term) {
    barrier_term_ = raft_.current_term;
    early_results_.clear();
    if (barrier([](bool) {})) barrier_index_ = last_index();
  }
  if (raft_.state == RAFT_LEADER && !early_results_.empty() && own_term_stored()) {
    for (auto& [from, result] : std::exchange(early_results_, {})) deliver(from, result);
  }
  if (reopen_) {
    owner_.rolled_back();
  } else if (raft_.state == RAFT_UNAVAILABLE && !told_failed_) {
    told_failed_ = true;
    owner_.failed(
        Error(ErrorCode::kIo, "libraft gave up on " + settings_.log.string() + ": " + raft_errmsg(&raft_)));
  }
  owner_.moved();
}

int Consensus::send(raft_io_send* request, const raft_message* message, raft_io_send_cb done) {
  request->cb = done;
  // Until the configuration that a recovery made is in this log, its majority is not the group's: no votes
  // for itself.
  const std::uint64_t floor = settings_.epoch << 32U;
  if (message->type == RAFT_IO_REQUEST_VOTE && last_term() < floor) return RAFT_NOCONNECTION;
  // libraft answers entries that it has already, and heartbeats, with the end of its log, where old entries
  // of others may follow what was compared; the leader cuts that to the end of its own log and takes those
  // for copies of its entries.
  raft_message answer = *message;
  if (message->type == RAFT_IO_APPEND_ENTRIES_RESULT && verified_ != 0 &&
      answer.append_entries_result.rejected == 0) {
    answer.append_entries_result.last_log_index =
        std::min<raft_index>(answer.append_entries_result.last_log_index, verified_ - 1);
  }
  const std::uint64_t token = next_send_++;
  (*sends_)[token] = Pending{request, done};
  const bool taken = owner_.carry(message->server_id, encode(answer), [sends = sends_, token](bool sent) {
    const auto at = sends->find(token);
    if (at == sends->end()) return;  // cancelled meanwhile
    const Pending pending = at->second;
    sends->erase(at);
    if (pending.done != nullptr)
      pending.done(pending.request, sent ? 0 : RAFT_NOCONNECTION);  // none for TimeoutNow
  });
  // Refused later, never at once: where the answer to entries cannot be sent libraft frees them twice.
  if (!taken) refused_.push_back(token);
  return 0;
}

std::string Consensus::encode(const raft_message& message) {
  switch (message.type) {
    case RAFT_IO_APPEND_ENTRIES: {
      const raft_append_entries& from = message.append_entries;
      std::string frames;
      wire::Append part{from.term, from.prev_log_index, from.prev_log_term, from.leader_commit, {}};
      std::size_t size = 0;
      for (unsigned i = 0; i < from.n_entries && frames.size() + size < kMostAtOnce; ++i) {
        const raft_entry& entry = from.entries[i];
        if (!part.entries.empty() &&
            (size + entry.buf.len > wire::kAppendBytes || part.entries.size() == wire::kMaxEntries)) {
          frames += wire::encode(part);
          part.previous_index += part.entries.size();
          part.previous_term = part.entries.back().term;
          part.entries.clear();
          size = 0;
        }
        part.entries.push_back(
            wire::Entry{entry.term, static_cast<wire::EntryType>(entry.type),
                        std::string_view(static_cast<const char*>(entry.buf.base), entry.buf.len)});
        size += entry.buf.len;
      }
      return frames + wire::encode(part);
    }
    case RAFT_IO_APPEND_ENTRIES_RESULT:
      return wire::encode(wire::AppendResult{message.append_entries_result.term,
                                             message.append_entries_result.rejected,
                                             message.append_entries_result.last_log_index});
    case RAFT_IO_REQUEST_VOTE: {
      const raft_request_vote& from = message.request_vote;
      return wire::encode(wire::Vote{from.term, from.candidate_id, from.last_log_index, from.last_log_term,
                                     from.disrupt_leader, from.pre_vote});
    }
    case RAFT_IO_REQUEST_VOTE_RESULT: {
      const raft_request_vote_result& from = message.request_vote_result;
      return wire::encode(
          wire::VoteResult{from.term, from.vote_granted, static_cast<std::uint8_t>(from.pre_vote)});
    }
    case RAFT_IO_INSTALL_SNAPSHOT: {
      const raft_install_snapshot& from = message.install_snapshot;
      wire::Snapshot snapshot{from.term,
                              from.last_index,
                              from.last_term,
                              from.conf_index,
                              {},
                              {static_cast<const char*>(from.data.base), from.data.len}};
      for (unsigned i = 0; i < from.conf.n; ++i) {
        snapshot.servers.push_back(
            wire::Server{from.conf.servers[i].id, static_cast<std::uint8_t>(from.conf.servers[i].role)});
      }
      std::sort(snapshot.servers.begin(), snapshot.servers.end(),
                [](const auto& a, const auto& b) { return a.id < b.id; });
      return wire::encode(snapshot);
    }
    default: {
      const raft_timeout_now& from = message.timeout_now;
      return wire::encode(wire::TimeoutNow{from.term, from.last_log_index, from.last_log_term});
    }
  }
}

/// What libraft would trust and must not: terms of other epochs, a second leader of its own term (it
/// asserts), votes for those whose log the recovery has not reached.
bool Consensus::may_deliver(const wire::Message& message) const {
  const auto of_epoch = [this](std::uint64_t term) { return term >> 32U == settings_.epoch; };
  const bool leads = raft_.state == RAFT_LEADER;
  if (const auto* append = std::get_if<wire::Append>(&message))
    return of_epoch(append->term) && !(leads && append->term <= raft_.current_term);
  if (const auto* snapshot = std::get_if<wire::Snapshot>(&message))
    return of_epoch(snapshot->term) && !(leads && snapshot->term <= raft_.current_term);
  if (const auto* result = std::get_if<wire::AppendResult>(&message)) return of_epoch(result->term);
  if (const auto* result = std::get_if<wire::VoteResult>(&message)) return of_epoch(result->term);
  if (const auto* now = std::get_if<wire::TimeoutNow>(&message)) return of_epoch(now->term);
  const auto* vote = std::get_if<wire::Vote>(&message);
  if (vote == nullptr || !of_epoch(vote->term)) return false;
  return last_term() >= settings_.epoch << 32U || vote->last_term >= settings_.epoch << 32U;
}

void Consensus::deliver(std::uint64_t from, wire::Message message) {
  if (closing_ || reopen_ || receive_ == nullptr || !may_deliver(message)) return;
  raft_message out{};
  if (const auto* append = std::get_if<wire::Append>(&message)) return deliver_append(from, *append);
  if (const auto* snapshot = std::get_if<wire::Snapshot>(&message)) return deliver_snapshot(from, *snapshot);
  if (const auto* result = std::get_if<wire::AppendResult>(&message)) {
    if (raft_.state == RAFT_LEADER && !own_term_stored() && result->term == raft_.current_term) {
      if (early_results_.size() < 256) early_results_.emplace_back(from, *result);
      return;
    }
    out.type = RAFT_IO_APPEND_ENTRIES_RESULT;
    out.append_entries_result = {result->term, result->rejected, result->last_index};
  } else if (const auto* vote = std::get_if<wire::Vote>(&message)) {
    if (vote->candidate != from) return;
    out.type = RAFT_IO_REQUEST_VOTE;
    out.request_vote = {vote->term,      vote->candidate, vote->last_index,
                        vote->last_term, vote->disrupt,   vote->pre};
  } else if (const auto* given = std::get_if<wire::VoteResult>(&message)) {
    out.type = RAFT_IO_REQUEST_VOTE_RESULT;
    out.request_vote_result = {given->term, given->granted, static_cast<raft_tribool>(given->pre)};
  } else if (const auto* now = std::get_if<wire::TimeoutNow>(&message)) {
    out.type = RAFT_IO_TIMEOUT_NOW;
    out.timeout_now = {now->term, now->last_index, now->last_term};
  } else {
    return;
  }
  hand_in(out, from);
}

void Consensus::receive_message(raft_message& message, std::uint64_t from) {
  const std::string address = std::to_string(from);
  message.server_id = from;
  message.server_address = address.c_str();
  receive_(&io_, &message);
}

void Consensus::hand_in(raft_message& message, std::uint64_t from) {
  {
    const Inside inside(*this);
    receive_message(message, from);
  }
  after();
}

void Consensus::deliver_append(std::uint64_t from, const wire::Append& append) {
  raft_message out{};
  out.type = RAFT_IO_APPEND_ENTRIES;
  out.append_entries = {append.term, append.previous_index, append.previous_term, append.commit, nullptr, 0};
  if (!append.entries.empty()) {
    std::size_t size = 0;
    for (const wire::Entry& entry : append.entries)
      size += entry.bytes.size();  // whole words, so all stay aligned
    auto* batch = static_cast<char*>(raft_malloc(size));
    auto* entries = static_cast<raft_entry*>(raft_malloc(append.entries.size() * sizeof(raft_entry)));
    MVM_ASSERT(batch != nullptr && entries != nullptr);
    std::size_t offset = 0;
    for (std::size_t i = 0; i < append.entries.size(); ++i) {
      const wire::Entry& entry = append.entries[i];
      std::memcpy(batch + offset, entry.bytes.data(), entry.bytes.size());
      entries[i] = raft_entry{
          entry.term, static_cast<unsigned short>(entry.type), {batch + offset, entry.bytes.size()}, batch};
      offset += entry.bytes.size();
    }
    out.append_entries.entries = entries;
    out.append_entries.n_entries = static_cast<unsigned>(append.entries.size());
  }
  verified_ = append.previous_index + append.entries.size() + 1;
  {
    const Inside inside(*this);
    receive_message(out, from);
  }
  verified_ = 0;
  after();
}

void Consensus::deliver_snapshot(std::uint64_t from, const wire::Snapshot& snapshot) {
  raft_message out{};
  out.type = RAFT_IO_INSTALL_SNAPSHOT;
  raft_install_snapshot& to = out.install_snapshot;
  to.term = snapshot.term;
  to.last_index = snapshot.last_index;
  to.last_term = snapshot.last_term;
  to.conf_index = snapshot.servers_index;
  raft_configuration_init(&to.conf);
  for (const wire::Server& server : snapshot.servers) {
    const int code =
        raft_configuration_add(&to.conf, server.id, std::to_string(server.id).c_str(), server.role);
    MVM_ASSERT(code == 0);
  }
  to.data.len = snapshot.bytes.size();
  to.data.base = raft_malloc(snapshot.bytes.size());
  MVM_ASSERT(to.data.base != nullptr);
  std::memcpy(to.data.base, snapshot.bytes.data(), snapshot.bytes.size());
  hand_in(out, from);
}

}  // namespace mvm::replica
