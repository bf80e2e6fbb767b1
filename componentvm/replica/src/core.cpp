#include "core.h"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <future>
#include <utility>

#include "mvm/base/file.h"
#include "mvm/base/log.h"

namespace mvm::replica {
namespace {

constexpr std::uint64_t kTick = 25;  // ms
constexpr std::size_t kLedgerBytes = 16 << 20;

}  // namespace

Result<std::unique_ptr<Replica>> Replica::open(Options options, StateMachine& machine, Callbacks callbacks) {
  if (options.self.id == 0) return Error(ErrorCode::kInvalid, "a member's number must not be 0");
  if (options.secret.size() < 16)
    return Error(ErrorCode::kInvalid, "the secret of group '" + options.group + "' is shorter than 16 bytes");
  if (options.group.empty() || options.group.size() > wire::kMaxGroup)
    return Error(ErrorCode::kInvalid, "the group's name: expected 1 to 128 bytes");
  if (options.beat.count() < 20 || options.beat.count() > 60000)
    return Error(ErrorCode::kInvalid, "the beat: expected 20 ms to 60 s");
  if (options.limits.voters == 0 || options.limits.command_bytes == 0 || options.limits.snapshot_every < 16) {
    return Error(ErrorCode::kInvalid,
                 "limits: expected a voter, a command and 16 commands between snapshots at least");
  }
  auto core = std::make_unique<Core>(std::move(options), machine, std::move(callbacks));
  MVM_TRY(core->begin());
  return std::unique_ptr<Replica>(std::move(core));
}

Core::Core(Options options, StateMachine& machine, Callbacks callbacks)
    : options_(std::move(options)), machine_(machine), callbacks_(std::move(callbacks)) {}

Core::~Core() { Core::stop(); }

Status Core::begin() {
  std::promise<Status> ready;
  auto known = ready.get_future();
  thread_ =
      std::thread([this, &ready] { run([&ready](Status status) { ready.set_value(std::move(status)); }); });
  Status status = known.get();
  if (!status) {
    thread_.join();
    stopped_ = true;
  }
  return status;
}

void Core::run(const std::function<void(Status)>& ready) {
  // libuv writes to sockets without MSG_NOSIGNAL: a peer that has gone must not end the process. Other
  // signals are main's.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  uv_loop_init(&loop_);
  uv_async_init(&loop_, &wake_, [](uv_async_t* handle) {
    auto* self = static_cast<Core*>(handle->data);
    self->drain_posts();
    self->evaluate();
  });
  wake_.data = this;
  uv_timer_init(&loop_, &timer_);
  timer_.data = this;
  Status status = open_folder();
  if (status) {
    Links::Settings settings;
    settings.group = options_.group;
    settings.address = options_.self.address;
    settings.secret = options_.secret;
    settings.bounds = wire::Bounds{options_.limits.command_bytes, options_.limits.result_bytes,
                                   options_.limits.snapshot_bytes};
    settings.beat = options_.beat;
    settings.callers = options_.limits.members * 2;
    settings.queue = options_.limits.snapshot_bytes + (std::size_t{16} << 20U);
    links_ = std::make_unique<Links>(&loop_, std::move(settings), static_cast<Links::Owner&>(*this));
    status = links_->start();
  }
  if (status) {
    options_.self.address = links_->address();
    if (ledger_.group_id != 0) {
      roster_.merge(RosterEntry{id(), options_.self.address, ledger_.life, 0, false});
      if (!save()) status = *ended_;
    }
  }
  const bool good = status.has_value();
  if (good) {
    const std::lock_guard guard(mutex_);
    accepts_posts_ = true;
    info_.life = ledger_.life;
  }
  if (good) {
    uv_timer_start(
        &timer_, [](uv_timer_t* timer) { static_cast<Core*>(timer->data)->evaluate(); }, 0, kTick);
  }
  ready(std::move(status));
  if (!good) shut_down();
  uv_run(&loop_, UV_RUN_DEFAULT);
  uv_loop_close(&loop_);
  links_.reset();
}

Status Core::open_folder() {
  MVM_TRY(make_folders(options_.folder, 0700));
  MVM_TRY(make_folders(log_folder(), 0700));
  auto lock = lock_file(options_.folder / "lock");
  if (!lock && lock.error().code() == ErrorCode::kExists)
    return Error(ErrorCode::kExists,
                 options_.folder.string() + " is in use by another process: a copy has one owner at a time");
  if (!lock) return lock.error();
  lock_ = std::move(*lock);
  const std::filesystem::path file = options_.folder / "group";
  if (std::filesystem::exists(file)) {
    MVM_ASSIGN(const std::string bytes, read_file(file, kLedgerBytes));
    auto ledger = wire::decode_ledger(bytes);
    if (!ledger) return std::move(ledger).error().wrap("read " + file.string());
    ledger_ = std::move(*ledger);
    if (ledger_.group != options_.group || ledger_.id != id()) {
      return Error(ErrorCode::kConflict, options_.folder.string() + " holds member " +
                                             std::to_string(ledger_.id) + " of group '" + ledger_.group +
                                             "', not member " + std::to_string(id()) + " of '" +
                                             options_.group + "'");
    }
    for (const RosterEntry& entry : ledger_.roster) roster_.merge(entry);
  }
  ledger_.group = options_.group;
  ledger_.id = id();
  ++ledger_.life;
  const RosterEntry* mine = roster_.find(id());
  if (mine != nullptr && mine->gone)
    return Error(ErrorCode::kRefused,
                 "member " + std::to_string(id()) + " has left its group: join with a new number");
  // The life is on disk before anybody hears of it: no two lives have one number.
  if (!save()) return *ended_;
  pristine_ = machine_.snapshot();
  MVM_ASSIGN(const LogEnd log, inspect(log_folder(), id()));
  servers_ = log.servers;
  return ok();
}

bool Core::save() {
  ledger_.roster = roster_.entries();
  if (auto status = write_file_durably(options_.folder / "group", wire::encode(ledger_), 0600); !status) {
    end(std::move(status).error().wrap("the replica's ledger"));
    return false;
  }
  if (links_) tell_all();
  return true;
}

void Core::end(Error why) {
  if (ended_) return;
  log::error("replica.ended", {{"group", options_.group}, {"id", id()}, {"why", why.describe()}});
  ended_ = std::move(why);
  active_ = false;
  // Whoever tells a member that leaves that its part is over knows that it has left, as those do that it
  // told.
  if (const DoneStatus done = std::exchange(left_, {})) done(roster_.alive(id()) ? Status(*ended_) : ok());
}

// ---- any thread

void Core::post(std::function<void()> call) {
  {
    const std::lock_guard guard(mutex_);
    if (!accepts_posts_) return;
    posts_.push_back(std::move(call));
    uv_async_send(&wake_);
  }
}

Status Core::call_in(std::function<Status()> call) {
  auto answered = std::make_shared<std::promise<Status>>();
  auto answer = answered->get_future();
  {
    const std::lock_guard guard(mutex_);
    if (!accepts_posts_) return Error(ErrorCode::kCancelled, "the replica has stopped");
  }
  post([answered, call = std::move(call)] { answered->set_value(call()); });
  // A stop that comes first drops the call, and with it the promise.
  answered.reset();
  try {
    return answer.get();
  } catch (const std::future_error&) {
    return Error(ErrorCode::kCancelled, "the replica has stopped");
  }
}

Info Core::info() const {
  const std::lock_guard guard(mutex_);
  return info_;
}

std::vector<MemberState> Core::members() const {
  const std::lock_guard guard(mutex_);
  return members_;
}

void Core::stop() {
  if (stopped_.exchange(true)) return;
  post([this] { shut_down(); });
  if (thread_.joinable()) thread_.join();
}

// ---- on the loop

void Core::drain_posts() {
  std::deque<std::function<void()>> calls;
  {
    const std::lock_guard guard(mutex_);
    calls.swap(posts_);
  }
  for (auto& call : calls) call();
}

void Core::shut_down() {
  if (shutting_down_) return;
  shutting_down_ = true;
  {
    const std::lock_guard guard(mutex_);
    accepts_posts_ = false;
  }
  fail_all(Error(ErrorCode::kCancelled, "the replica stops"));
  if (left_) std::exchange(left_, {})(Error(ErrorCode::kCancelled, "the replica stops"));
  if (raft_ && !raft_closing_) stop_raft();
  if (!raft_closing_) finish_shut_down();
}

void Core::finish_shut_down() {
  const auto last = [this] {
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&wake_), nullptr);
  };
  fail_all(Error(ErrorCode::kCancelled, "the replica stops"));
  if (!links_) return last();
  links_->close(last);
}

void Core::evaluate() {
  if (shutting_down_) return;
  if (ended_) {
    if (raft_ && !raft_closing_) stop_raft();
    fail_all(Error(ErrorCode::kConflict, "this member's part is over: " + ended_->message()));
    for (const auto& [peer, state] : peers_) links_->forget(peer);
    for (const Member& contact : contacts_) links_->forget(contact.id);
    publish();
    if (callbacks_.ended) std::exchange(callbacks_.ended, {})(*ended_);
    return;
  }
  keep_links();
  apply_facts();
  try_to_act();
  run_or_stop_raft();
  recover();
  run_or_stop_raft();
  upkeep();
  watch_leader();
  expire();
  dispatch();
  start_reads();
  release_held();
  finish_reads();
  if (now() >= next_ping_) {
    next_ping_ =
        now() + std::max<std::uint64_t>(static_cast<std::uint64_t>(options_.beat.count()) / 3, kTick);
    const std::string ping = wire::encode(wire::Ping{ledger_.promised, majority_lost().value_or(false)});
    for (const std::uint64_t other : roster_.living()) {
      if (other != id()) links_->send(other, ping);
    }
  }
  publish();
}

void Core::publish() {
  Info info;
  info.active = active_;
  info.epoch = epoch();
  info.life = ledger_.life;
  if (raft_ && !raft_closing_) {
    const std::uint64_t leader = raft_->leader();
    const RosterEntry* entry = leader != 0 ? roster_.find(leader) : nullptr;
    info.leader = Member{leader, entry != nullptr ? entry->address : std::string()};
    info.leads = ready_;
    info.term = raft_->term();
    info.applied = raft_->applied();
    info.committed = raft_->committed();
  }
  std::vector<MemberState> members;
  for (const RosterEntry& entry : roster_.entries()) {
    MemberState state;
    state.member = Member{entry.id, entry.address};
    state.life = entry.life;
    state.dead = !entry.alive();
    state.connected = entry.id == id() || (links_->is_up(entry.id) && links_->heard(entry.id) + 1000 > now());
    state.displaced = !state.connected && entry.id != id() && links_->is_displaced(entry.id);
    for (const wire::Server& server : servers_) {
      if (server.id == entry.id) state.role = server.role == 1 ? Role::kVoter : Role::kStandBy;
    }
    members.push_back(std::move(state));
  }
  const auto same = [](const MemberState& a, const MemberState& b) {
    return a.member.id == b.member.id && a.member.address == b.member.address && a.life == b.life &&
           a.role == b.role && a.dead == b.dead && a.connected == b.connected && a.displaced == b.displaced;
  };
  bool changed = false;
  {
    const std::lock_guard guard(mutex_);
    info_ = info;
    changed = !std::equal(members.begin(), members.end(), members_.begin(), members_.end(), same);
    if (changed) members_ = members;
  }
  if (changed && callbacks_.members_changed) callbacks_.members_changed(members);
}

// ---- links

wire::State Core::own_state() const {
  wire::State state;
  state.id = id();
  state.life = ledger_.life;
  state.group_id = ledger_.group_id;
  state.promised = ledger_.promised;
  state.active = active_;
  state.roster = roster_.entries();
  if (ledger_.group_id == 0)
    state.roster = {RosterEntry{id(), options_.self.address, ledger_.life, 0, false}};
  state.decisions = ledger_.decisions;
  return state;
}

wire::Hello Core::greeting(std::uint64_t wanted) {
  wire::Hello hello;
  hello.group = options_.group;
  hello.wanted = wanted;
  hello.state = own_state();
  return hello;
}

void Core::tell_all() {
  const std::string frame = wire::encode(own_state());
  for (const std::uint64_t other : roster_.living()) {
    if (other != id()) links_->send(other, frame);
  }
}

wire::Verdict Core::greeted(const wire::Hello& hello) {
  const wire::State& state = hello.state;
  if (ended_ || state.id == id() || (hello.wanted != 0 && hello.wanted != id()))
    return wire::Verdict::kOtherMember;
  if (state.group_id != 0 && ledger_.group_id != 0 && state.group_id != ledger_.group_id)
    return wire::Verdict::kOtherGroup;
  const RosterEntry* entry = roster_.find(state.id);
  if (entry != nullptr && (entry->gone || state.life <= entry->dead_life || state.life < entry->life))
    return wire::Verdict::kDead;
  if (entry == nullptr && roster_.living().size() >= options_.limits.members) return wire::Verdict::kFull;
  return wire::Verdict::kWelcome;
}

void Core::up(std::uint64_t other) {
  links_->send(other, wire::encode(own_state()));
  uv_async_send(&wake_);
}

void Core::down(std::uint64_t other) {
  // From within a send of libraft's: nothing of it may be called now.
  post([this, other] {
    fail_sent_to(other, Error(ErrorCode::kUnavailable,
                              "the link to the leader broke; nobody knows whether the command is done"));
    if (!raft_ || raft_closing_) return;
    unsigned rank = 0;
    for (const wire::Server& server : servers_) {
      if (server.role == 1 && server.id < id() && server.id != other && links_->is_up(server.id)) ++rank;
    }
    raft_->lost_link(other, rank);
  });
}

void Core::refused(std::uint64_t other, wire::Verdict verdict) {
  log::warning(
      "replica.refused",
      {{"group", options_.group}, {"id", id()}, {"by", other}, {"verdict", static_cast<int>(verdict)}});
  if (verdict == wire::Verdict::kDead) {
    end(Error(ErrorCode::kRefused, "member " + std::to_string(other) + " knows this life of member " +
                                       std::to_string(id()) + " to be over"));
  }
}

void Core::received(std::uint64_t from, wire::Message message) {
  if (ended_ || shutting_down_) return;
  if (auto* state = std::get_if<wire::State>(&message)) return take_state(from, std::move(*state));
  if (const auto* ping = std::get_if<wire::Ping>(&message)) {
    peers_[from].promised = ping->promised;
    peers_[from].lost = ping->lost;
    return;
  }
  if (const auto* propose = std::get_if<wire::Propose>(&message)) return on_propose(from, *propose);
  if (const auto* answer = std::get_if<wire::Answer>(&message)) return on_answer(from, *answer);
  if (const auto* freeze = std::get_if<wire::Freeze>(&message)) return on_freeze(from, *freeze);
  if (const auto* promise = std::get_if<wire::Promise>(&message)) return on_promise(from, *promise);
  if (const auto* thaw = std::get_if<wire::Thaw>(&message)) return on_thaw(from, *thaw);
  // The living alone are listened to, and only while this member takes part.
  if (raft_ && !raft_closing_ && active_ && ledger_.promised == 0 && roster_.alive(from))
    raft_->deliver(from, std::move(message));
}

// ---- consensus

bool Core::carry(std::uint64_t to, std::string frame, std::function<void(bool)> sent) {
  return links_->send(to, std::move(frame), std::move(sent));
}

std::string Core::apply(std::uint64_t index, std::string_view command) {
  // libraft, opened again, tells once more what this machine knows already.
  if (index <= machine_applied_) return {};
  machine_applied_ = index;
  return machine_.apply(index, command);
}

std::optional<std::string> Core::snapshot(std::uint64_t index) {
  if (machine_applied_ > index) return std::nullopt;
  std::string bytes;
  for (unsigned i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(index >> (8U * i)));
  bytes += machine_.snapshot();
  if (bytes.size() + 16 > options_.limits.snapshot_bytes) {
    log::error(
        "replica.snapshot_too_large",
        {{"group", options_.group}, {"bytes", bytes.size()}, {"limit", options_.limits.snapshot_bytes}});
    return std::nullopt;
  }
  return bytes;
}

bool Core::restore(std::string_view snapshot) {
  if (snapshot.size() < 8) return false;
  std::uint64_t index = 0;
  for (unsigned i = 8; i > 0; --i) index = (index << 8U) | static_cast<unsigned char>(snapshot[i - 1]);
  if (index <= machine_applied_) return true;
  auto status = machine_.restore(snapshot.substr(8));
  if (!status) {
    end(std::move(status).error().wrap("restore a snapshot"));
    return false;
  }
  machine_applied_ = index;
  return true;
}

void Core::moved() {
  if (raft_ && !raft_closing_) servers_ = raft_->servers();
  uv_async_send(&wake_);
}

void Core::failed(Error why) {
  if (!ended_) end(std::move(why));
  uv_async_send(&wake_);
}

void Core::rolled_back() {
  reopen_ = true;
  uv_async_send(&wake_);
}

}  // namespace mvm::replica
