#include "mvm/registry/raft/raft_registry.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "mvm/registry/feed.h"
#include "mvm/registry/table.h"

namespace mvm::registry {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLimit{20'000};  // for one call; then nobody knows

// A command: what it is, then its bytes. An answer: '+' and bytes, or '-', the error's code and its text.
constexpr char kUpdate = 'U';
constexpr char kKeep = 'K';

std::string refusal(const Error& error) {
  return std::string("-") + static_cast<char>('a' + static_cast<int>(error.code())) + error.message();
}

Error error_of(std::string_view answer) {
  if (answer.size() < 2 || answer[0] != '-' || answer[1] < 'a' ||
      answer[1] > 'a' + static_cast<int>(ErrorCode::kFailed)) {
    return {ErrorCode::kCorrupt, "the group's answer breaks its format"};
  }
  return {static_cast<ErrorCode>(answer[1] - 'a'), std::string(answer.substr(2))};
}

class Member final : public RaftRegistry, private replica::StateMachine {
 public:
  explicit Member(Clock& clock) : clock_(clock), times_(clock), feed_(0) {}
  ~Member() override;
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  Status begin(replica::Options options, replica::Callbacks callbacks);

  Result<Applied> update(const Update& update) override;
  Result<Instance> read(std::string_view name, std::uint64_t index, std::uint32_t flags) override;
  Result<Listing> list(std::string_view pattern, const std::optional<Position>& after,
                       std::size_t limit) override;
  Result<Events> watch(std::uint64_t after, std::string_view pattern, milliseconds wait,
                       std::size_t limit) override;
  Status keep_alive(std::uint64_t lease) override;
  void stop() override { feed_.stop(); }
  replica::Replica& replica() override { return *replica_; }

 private:
  // On the replica's thread.
  std::string apply(std::uint64_t index, std::string_view command) override;
  std::string snapshot() override { return table_.snapshot(); }
  Status restore(std::string_view snapshot) override;
  std::string apply_update(std::string_view bytes);
  std::string apply_keep(std::string_view bytes);

  Result<std::string> order(std::string command);
  template <class T, class Look>
  Result<T> look(const Look& look);
  void end_leases();

  Clock& clock_;
  Table table_;  // the replica's thread alone touches it
  std::mutex times_mutex_;
  std::condition_variable times_changed_;
  LeaseTimes times_;
  bool stopping_ = false;
  Feed feed_;
  std::unique_ptr<replica::Replica> replica_;
  std::thread lease_thread_;
};

Member::~Member() {
  feed_.stop();
  {
    const std::lock_guard lock(times_mutex_);
    stopping_ = true;
  }
  times_changed_.notify_all();
  if (replica_) replica_->stop();  // ends what the lease thread may wait for
  if (lease_thread_.joinable()) lease_thread_.join();
}

Status Member::begin(replica::Options options, replica::Callbacks callbacks) {
  options.limits.command_bytes = std::max(options.limits.command_bytes, std::size_t{2} * kMaxItem);
  options.limits.result_bytes = std::max(options.limits.result_bytes, (kMaxOperations + 1) * kMaxItem);
  options.limits.snapshot_bytes = std::max(options.limits.snapshot_bytes, 3 * kMaxBytes);
  MVM_ASSIGN(replica_, replica::Replica::open(std::move(options), *this, std::move(callbacks)));
  lease_thread_ = std::thread([this] { end_leases(); });
  return ok();
}

std::string Member::apply(std::uint64_t /*index*/, std::string_view command) {
  if (command.empty()) return refusal(Error(ErrorCode::kInvalid, "an empty command"));
  const std::string_view rest = command.substr(1);
  if (command[0] == kUpdate) return apply_update(rest);
  if (command[0] == kKeep) return apply_keep(rest);
  return refusal(Error(ErrorCode::kInvalid, "a command of a newer member"));
}

std::string Member::apply_update(std::string_view bytes) {
  const auto update = decode_update(bytes);
  if (!update) return refusal(update.error());
  const auto effect = table_.apply(*update);
  if (!effect) return refusal(effect.error());
  if (!effect->repeated) {
    {
      const std::lock_guard lock(times_mutex_);
      for (const std::uint64_t lease : effect->ended) times_.drop(lease);
      for (const std::uint64_t lease : effect->granted) times_.begin(lease, table_.leases().at(lease).ttl);
    }
    if (!effect->granted.empty()) times_changed_.notify_all();
    if (effect->answer.revision > feed_.last()) feed_.add(effect->answer.revision, effect->events);
  }
  return "+" + encode(effect->answer);
}

std::string Member::apply_keep(std::string_view bytes) {
  std::uint64_t lease = 0;
  for (std::size_t i = std::min<std::size_t>(bytes.size(), 8); i > 0; --i)
    lease = (lease << 8U) | static_cast<unsigned char>(bytes[i - 1]);
  // Whether there is such a lease is the table's word, the same everywhere; how long it lasts is each
  // member's own count.
  const auto at = table_.leases().find(lease);
  if (at == table_.leases().end())
    return refusal(Error(ErrorCode::kNotFound, "lease " + std::to_string(lease) + " has ended"));
  const std::lock_guard lock(times_mutex_);
  times_.begin(lease, at->second.ttl);
  return "+";
}

Status Member::restore(std::string_view snapshot) {
  MVM_ASSIGN(table_, Table::restore(snapshot));
  {
    const std::lock_guard lock(times_mutex_);
    times_.clear();
    for (const auto& [lease, info] : table_.leases()) times_.begin(lease, info.ttl);
  }
  times_changed_.notify_all();
  feed_.restart(table_.revision());
  return ok();
}

Result<std::string> Member::order(std::string command) {
  auto answered = std::make_shared<std::promise<Result<replica::Applied>>>();
  auto answer = answered->get_future();
  replica_->propose(
      std::move(command),
      [answered](Result<replica::Applied> result) { answered->set_value(std::move(result)); }, kLimit);
  auto result = answer.get();
  if (result) {
    if (result->result.starts_with('+')) return result->result.substr(1);
    return error_of(result->result);
  }
  // kConflict: surely not done, for want of a leader. Everything else leaves it open.
  const ErrorCode code = result.error().code();
  if (code == ErrorCode::kExhausted || code == ErrorCode::kInvalid || code == ErrorCode::kTimeout)
    return std::move(result).error();
  return Error(ErrorCode::kUnavailable, "the registry's group: " + result.error().message());
}

Result<Applied> Member::update(const Update& update) {
  MVM_TRY(check_update(update));
  MVM_ASSIGN(const std::string answer, order(kUpdate + encode(update)));
  return decode_applied(answer);
}

Status Member::keep_alive(std::uint64_t lease) {
  std::string command(1, kKeep);
  for (unsigned i = 0; i < 8; ++i) command.push_back(static_cast<char>(lease >> (8U * i)));
  const auto answer = order(std::move(command));
  return answer ? ok() : Status(answer.error());
}

template <class T, class Look>
Result<T> Member::look(const Look& look) {
  auto answered = std::make_shared<std::promise<Result<T>>>();
  auto answer = answered->get_future();
  // `look` is read while this call waits, on the replica's thread, between two commands.
  replica_->barrier(
      [answered, &look](Status status) {
        if (status) return answered->set_value(Result<T>(look()));
        answered->set_value(Error(
            status.error().code() == ErrorCode::kTimeout ? ErrorCode::kTimeout : ErrorCode::kUnavailable,
            "the registry's group: " + status.error().message()));
      },
      kLimit);
  return answer.get();
}

Result<Instance> Member::read(std::string_view name, std::uint64_t index, std::uint32_t flags) {
  MVM_TRY(check_name(name));
  return look<Instance>([&] { return table_.read(name, index, flags); });
}

Result<Listing> Member::list(std::string_view pattern, const std::optional<Position>& after,
                             std::size_t limit) {
  MVM_TRY(check_pattern(pattern));
  return look<Listing>([&] { return table_.list(pattern, after, limit); });
}

Result<Events> Member::watch(std::uint64_t after, std::string_view pattern, milliseconds wait,
                             std::size_t limit) {
  MVM_TRY(check_pattern(pattern));
  if (after > feed_.last()) {
    // Another member's cursor: this one may be behind it.
    MVM_ASSIGN([[maybe_unused]] const bool caught_up, look<bool>([] { return true; }));
  }
  return feed_.watch(after, pattern, wait, limit);
}

/// Only the leader ends leases, by updates like any other; two that think they lead end one twice, which is
/// no error.
void Member::end_leases() {
  std::unique_lock lock(times_mutex_);
  while (!stopping_) {
    const auto next = times_.next();
    const auto soon = clock_.now() + std::chrono::seconds(1);
    const auto until = next ? std::min(*next, soon) : soon;
    if (until > clock_.now()) {
      times_changed_.wait_for(lock, until - clock_.now());
      continue;
    }
    const std::vector<std::uint64_t> ended = times_.ended();
    lock.unlock();
    bool all = replica_->info().leads;
    for (std::size_t i = 0; all && i < ended.size(); ++i) {
      Update update;
      update.operations.push_back(Operation{.kind = Operation::Kind::kRevoke, .lease = ended[i]});
      all = order(kUpdate + encode(update)).has_value();
    }
    lock.lock();
    // Not the leader, or no majority: look again a little later.
    if (!all && !stopping_) times_changed_.wait_for(lock, milliseconds(50));
  }
}

}  // namespace

Result<std::unique_ptr<RaftRegistry>> open_raft_registry(replica::Options options,
                                                         replica::Callbacks callbacks, Clock& clock) {
  auto member = std::make_unique<Member>(clock);
  MVM_TRY(member->begin(std::move(options), std::move(callbacks)));
  return std::unique_ptr<RaftRegistry>(std::move(member));
}

}  // namespace mvm::registry
