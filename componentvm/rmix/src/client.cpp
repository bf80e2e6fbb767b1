#include "mvm/rmix/client.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "mvm/base/thread_pool.h"

namespace mvm::rmix {
namespace {

using std::chrono::steady_clock;
constexpr std::size_t kMostInFlight = 256;  // calls of one reference that a server has at a time
constexpr std::size_t kMostEndpoints = 64;
constexpr int kMostTries = 2;  // connections that one call is given to, where it surely did not run

class Core;

}  // namespace

/// A call. Its outcome is set once; who sets it first wins.
struct Pending::State {
  std::weak_ptr<Core> core;
  std::uint64_t sequence = 0;  // in its reference
  bool ordered = true;
  Request request;

  // Of the core's mutex.
  enum class Place { kQueued, kGiven, kGone } place = Place::kQueued;
  // That it was given to. Its owner is the reference, and who uses it for a moment: one whose last owner were
  // the thread that brings answers would wait for itself.
  std::weak_ptr<Connection> connection;
  std::uint64_t number = 0;  // there; 0: not known yet
  bool cancel_wanted = false;
  int tries = 0;

  std::atomic<bool> over{false};
  mutable std::mutex mutex;
  mutable std::condition_variable ended;
  Outcome outcome;
  std::vector<std::function<void(const Outcome&)>> callbacks;

  /// Ends it. Whom it has to be told to then: nobody, where it was over.
  [[nodiscard]] std::vector<std::function<void(const Outcome&)>> settle(Outcome how) {
    const std::lock_guard lock(mutex);
    if (over.load(std::memory_order_relaxed)) return {};
    outcome = std::move(how);
    over.store(true, std::memory_order_release);
    ended.notify_all();
    return std::exchange(callbacks, {});
  }
  void finish(Outcome how) {
    for (const auto& callback : settle(std::move(how))) callback(outcome);
  }
  bool wait_until(Clock::Instant moment) const {
    if (over.load(std::memory_order_acquire)) return true;
    std::unique_lock lock(mutex);
    const auto done = [&] { return over.load(std::memory_order_relaxed); };
    if (moment != kNever) return ended.wait_until(lock, moment, done);
    ended.wait(lock, done);
    return true;
  }
};

namespace {

using Call = std::shared_ptr<Pending::State>;

/// This thread tells how calls ended, and may have the ends of others still to tell: who waits for one of
/// them on it would wait for ever.
class Telling {
 public:
  Telling() { ++depth_; }
  ~Telling() { --depth_; }
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;
  static bool here() { return depth_ > 0; }

 private:
  static thread_local int depth_;
};
thread_local int Telling::depth_ = 0;

/// All are over before the first is told of.
template <class Calls>
void finish_all(const Calls& calls, const Error& error) {
  std::vector<std::pair<const Pending::State*, std::vector<std::function<void(const Outcome&)>>>> told;
  for (const Call& call : calls) told.emplace_back(call.get(), call->settle(Failure{error, Fate::kNotRun}));
  for (const auto& [call, callbacks] : told)
    for (const auto& callback : callbacks) callback(call->outcome);
}

/// Ends calls whose deadline passed while nobody waits for them.
class Timers {
 public:
  using Expire = void (*)(const Call&);
  explicit Timers(Expire expire) : line_(std::make_shared<Line>()), expire_(expire) {}
  ~Timers() {
    {
      const std::lock_guard lock(line_->mutex);
      line_->over = true;
    }
    line_->changed.notify_all();
    if (!thread_.joinable()) return;
    // The thread itself may be the last owner of what it ended a call for.
    if (thread_.get_id() == std::this_thread::get_id())
      thread_.detach();
    else
      thread_.join();
  }
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;

  void add(const Call& call) {
    if (call->request.deadline == kNever) return;
    const std::lock_guard lock(line_->mutex);
    if (!thread_.joinable()) thread_ = std::thread([line = line_, expire = expire_] { run(*line, expire); });
    auto& calls = line_->calls;
    const auto at = calls.emplace(call->request.deadline, call);
    if (at == calls.begin()) line_->changed.notify_all();
    // What ended in time goes when it is the oldest; so no more stay than were made within one time-out.
    while (calls.begin()->second.expired()) calls.erase(calls.begin());
  }

 private:
  struct Line {
    std::mutex mutex;
    std::condition_variable changed;
    bool over = false;
    std::multimap<Clock::Instant, std::weak_ptr<Pending::State>> calls;
  };

  static void run(Line& line, Expire expire) {
    std::unique_lock lock(line.mutex);
    while (!line.over) {
      if (line.calls.empty()) {
        line.changed.wait(lock);
        continue;
      }
      const auto first = line.calls.begin();
      if (steady_clock::now() < first->first) {
        line.changed.wait_until(lock, Clock::Instant(first->first));
        continue;
      }
      Call call = first->second.lock();
      line.calls.erase(first);
      lock.unlock();
      if (call && !call->over.load()) expire(call);
      call.reset();  // not under the lock: with it the client may go, and these timers
      lock.lock();
    }
  }

  const std::shared_ptr<Line> line_;
  const Expire expire_;
  std::thread thread_;
};

void expire(const Call& call);

/// What all references of a client share.
struct Shared {
  Shared(const Providers& all, Client::Options what) : providers(all), options(std::move(what)) {}
  const Providers providers;
  const Client::Options options;
  ThreadPool pool{{.minimum = 0, .maximum = 64, .queue = 4096}};
  Timers timers{expire};
};

Clock::Instant after(std::chrono::milliseconds time) { return steady_clock::now() + time; }

/// A reference. Calls wait in two lines, those that keep an order and those that do not; one thread at a time
/// moves them on to the connection (pump), so that they leave in the order in which they came.
class Core final : public std::enable_shared_from_this<Core> {
 public:
  Core(std::shared_ptr<Shared> shared, Address address, InterfacePtr interface)
      : shared_(std::move(shared)), address_(std::move(address)), interface_(std::move(interface)) {}

  Status open(const Client::BindOptions& options) {
    forced_ = options.scheme;
    timeout_ = options.timeout.count() < 0 ? shared_->options.timeout : options.timeout;
    MVM_ASSIGN(Way way, connect(forced_, after(timeout_)));
    const std::lock_guard lock(mutex_);
    way_ = std::move(way);
    return ok();
  }

  /// Nothing of ours runs any more when this returns.
  void close() {
    std::unique_lock lock(mutex_);
    closed_ = true;
    std::deque<Call> queued;
    for (std::deque<Call>* line : {&ordered_, &concurrent_}) {
      queued.insert(queued.end(), line->begin(), line->end());
      line->clear();
    }
    for (const Call& call : queued) call->place = Pending::State::Place::kGone;
    const std::shared_ptr<Connection> connection = way_.connection;
    lock.unlock();
    finish_all(queued, Error(ErrorCode::kCancelled, "the reference was dropped"));
    if (connection) connection->shut();
    lock.lock();
    settled_.wait(lock, [&] { return jobs_ == 0 && !pumping_; });
    way_ = {};
    lock.unlock();
  }  // the connection goes here, and ends what it has

  const InterfacePtr& interface() const { return interface_; }

  Result<Call> make(std::uint32_t method, std::vector<Value> arguments, const CallOptions& options) {
    if (method >= interface_->methods.size())
      return Error(ErrorCode::kNotFound, interface_->text() + " has no method " + std::to_string(method));
    const Method& what = interface_->methods[method];
    MVM_TRY(check(arguments, what.parameters, what.name));
    auto call = std::make_shared<Pending::State>();
    call->core = weak_from_this();
    call->ordered = !what.concurrent;
    call->request = {.method = method,
                     .arguments = std::move(arguments),
                     .deadline = options.deadline != kNever ? options.deadline : after(timeout_)};
    return call;
  }

  void start(const Call& call) {
    {
      std::unique_lock lock(mutex_);
      enter(call);
      pump(lock, nullptr);
    }
    if (!call->over.load()) shared_->timers.add(call);
  }

  void run(const Call& call) {
    std::shared_ptr<Connection> connection;
    {
      std::unique_lock lock(mutex_);
      enter(call);
      pump(lock, &call);
      if (call->place == Pending::State::Place::kGiven) connection = call->connection.lock();
    }
    if (connection && !call->over.load(std::memory_order_acquire))
      connection->help(call->over, call->request.deadline);
    connection.reset();
    if (!call->wait_until(call->request.deadline)) time_out(call);
  }

  /// Ends a call for those who wait for it, and asks for it not to be run.
  void time_out(const Call& call) {
    if (take_back(call)) {
      call->finish(failed(ErrorCode::kTimeout, "the deadline passed", Fate::kNotRun));
      return;
    }
    call->finish(failed(ErrorCode::kTimeout, "the deadline passed", Fate::kUnknown));
    (void)withdraw(call);
  }

  /// True: it had not left, and will not.
  bool take_back(const Call& call) {
    const std::lock_guard lock(mutex_);
    if (call->place != Pending::State::Place::kQueued) return false;
    std::deque<Call>& line = call->ordered ? ordered_ : concurrent_;
    line.erase(std::remove(line.begin(), line.end(), call), line.end());
    call->place = Pending::State::Place::kGone;
    settled_.notify_all();
    return true;
  }

  /// True: it had not left, and will not. False: its server was asked.
  bool withdraw(const Call& call) {
    if (take_back(call)) return true;
    std::unique_lock lock(mutex_);
    if (call->place == Pending::State::Place::kGone || closed_) return false;
    call->cancel_wanted = true;
    const std::shared_ptr<Connection> connection = call->connection.lock();
    const std::uint64_t number = call->number;
    if (number == 0 || !connection) return false;
    ++jobs_;  // whoever closes waits for us, who own the connection meanwhile
    lock.unlock();
    connection->cancel(number);
    lock.lock();
    leave();
    return false;
  }

  Status flush(Clock::Instant moment) {
    std::unique_lock lock(mutex_);
    const auto idle = [&] { return in_flight_ == 0 && ordered_.empty() && concurrent_.empty(); };
    if (wait(lock, moment, idle)) return ok();
    return Error(ErrorCode::kTimeout, "calls of " + address_.service + " are still open");
  }

  std::string protocol() const {
    const std::lock_guard lock(mutex_);
    return way_.connection && way_.connection->usable() ? way_.scheme : std::string();
  }

  Status switch_to(const std::string& scheme, Clock::Instant moment) {
    const std::lock_guard one_at_a_time(switching_mutex_);
    MVM_ASSIGN(Way next, connect(scheme, moment));
    std::unique_lock lock(mutex_);
    gate_closed_ = true;
    const bool drained = wait(lock, moment, [&] { return in_flight_ == 0 && !pumping_; });
    if (drained) {
      std::swap(way_, next);
      forced_ = scheme;
    }
    gate_closed_ = false;
    pump(lock, nullptr);
    lock.unlock();
    if (drained) return ok();
    return Error(ErrorCode::kTimeout,
                 "calls of " + address_.service + " did not end in time; it stays with " + protocol());
  }

 private:
  /// A connection and what it is.
  struct Way {
    std::shared_ptr<Connection> connection;
    std::string scheme;
  };

  template <class Condition>
  bool wait(std::unique_lock<std::mutex>& lock, Clock::Instant moment, Condition condition) {
    if (moment != kNever) return settled_.wait_until(lock, moment, condition);
    settled_.wait(lock, condition);
    return true;
  }

  Result<Way> connect(const std::string& scheme, Clock::Instant moment) {
    std::vector<std::pair<const Providers::Entry*, std::string>> ways;
    for (const std::string& endpoint : address_.endpoints) {
      const Providers::Entry* entry = shared_->providers.find(scheme_of(endpoint));
      if (entry != nullptr && (scheme.empty() || entry->scheme.name == scheme))
        ways.emplace_back(entry, endpoint);
    }
    std::stable_sort(ways.begin(), ways.end(), [](const auto& left, const auto& right) {
      return left.first->scheme.cost < right.first->scheme.cost;
    });
    Error last(ErrorCode::kUnavailable, "service " + address_.service + " has no endpoint " +
                                            (scheme.empty() ? "" : "of " + scheme + " ") +
                                            "that a provider here speaks: " + address_.text());
    for (const auto& [entry, endpoint] : ways) {
      auto connection = entry->provider->connect({.endpoint = endpoint,
                                                  .service = address_.service,
                                                  .interface = interface_,
                                                  .token = shared_->options.token,
                                                  .tls = shared_->options.tls,
                                                  .deadline = moment});
      if (connection) return Way{std::move(*connection), entry->scheme.name};
      last = std::move(connection).error().wrap("connecting to " + address_.service + " at " + endpoint);
    }
    return last;
  }

  void enter(const Call& call) {
    if (closed_) {
      call->place = Pending::State::Place::kGone;
      call->finish(failed(ErrorCode::kCancelled, "the reference was dropped", Fate::kNotRun));
      return;
    }
    call->sequence = ++last_sequence_;
    (call->ordered ? ordered_ : concurrent_).push_back(call);
  }

  void leave() {
    --jobs_;
    settled_.notify_all();
  }

  /// The next call that may go to the connection now; null: none.
  Call next() {
    if (gate_closed_ || closed_ || connecting_) return nullptr;
    const Connection& connection = *way_.connection;
    if (in_flight_ >= (connection.blocking() ? connection.width() : kMostInFlight)) return nullptr;
    std::deque<Call>* line = &concurrent_;
    if (!ordered_.empty() && (connection.keeps_order() || ordered_in_flight_ == 0)) line = &ordered_;
    if (line->empty()) return nullptr;
    Call call = std::move(line->front());
    line->pop_front();
    return call;
  }

  /// Gives calls to the connection. `own`: this thread's, which it may block for. Called and left with the
  /// lock held.
  void pump(std::unique_lock<std::mutex>& lock, const Call* own) {
    if (pumping_ || (ordered_.empty() && concurrent_.empty())) return;
    if (!closed_ && !connecting_ && !(way_.connection && way_.connection->usable())) return reconnect();
    pumping_ = true;
    Call here;
    while (Call call = next()) {
      call->place = Pending::State::Place::kGiven;
      call->connection = way_.connection;
      ++call->tries;
      ++in_flight_;
      if (call->ordered) ++ordered_in_flight_;
      call->request.waits = own != nullptr && call == *own;
      if (call->request.waits && way_.connection->blocking()) {
        here = std::move(call);
        continue;
      }
      if (way_.connection->blocking()) {
        ++jobs_;
        const Status queued = shared_->pool.try_submit([this, call] {
          give(call);
          const std::lock_guard done(mutex_);
          leave();
        });
        if (!queued) {
          --jobs_;
          lock.unlock();
          ended(call, Failure{queued.error(), Fate::kNotRun});
          lock.lock();
        }
        continue;
      }
      lock.unlock();
      give(call);
      lock.lock();
    }
    pumping_ = false;
    if (closed_ || gate_closed_ || connecting_) settled_.notify_all();
    if (!here) return;
    lock.unlock();
    give(here);
    lock.lock();
  }

  /// Without the lock.
  void give(const Call& call) {
    const std::shared_ptr<Connection> connection = call->connection.lock();
    if (!connection)
      return ended(call, failed(ErrorCode::kCancelled, "the reference was dropped", Fate::kNotRun));
    const std::uint64_t number = connection->call(
        call->request,
        [self = shared_from_this(), call](Outcome outcome) { self->ended(call, std::move(outcome)); });
    bool cancel = false;
    {
      const std::lock_guard lock(mutex_);
      if (call->connection.lock() == connection) {  // else it is over, or with another one
        call->number = number;
        cancel = call->cancel_wanted;
      }
    }
    if (cancel) connection->cancel(number);
  }

  /// The connection's word on a call.
  void ended(const Call& call, Outcome outcome) {
    bool again = false;
    {
      std::unique_lock lock(mutex_);
      const bool usable = !closed_ && way_.connection->usable();  // no other has calls in flight
      call->connection.reset();
      --in_flight_;
      if (call->ordered) --ordered_in_flight_;
      call->number = 0;
      const auto* failure = std::get_if<Failure>(&outcome);
      again = failure != nullptr && failure->fate == Fate::kNotRun &&
              failure->error.code() == ErrorCode::kUnavailable && call->tries < kMostTries && !closed_ &&
              !call->cancel_wanted && !usable;
      call->place = again ? Pending::State::Place::kQueued : Pending::State::Place::kGone;
      if (again) put_back(call);
      if (in_flight_ == 0) settled_.notify_all();
      pump(lock, nullptr);
    }
    if (again) return;
    const Telling telling;
    call->finish(std::move(outcome));
  }

  void put_back(const Call& call) {
    std::deque<Call>& line = call->ordered ? ordered_ : concurrent_;
    const auto later = std::find_if(line.begin(), line.end(),
                                    [&](const Call& other) { return other->sequence > call->sequence; });
    line.insert(later, call);
  }

  /// With the lock held.
  void reconnect() {
    connecting_ = true;
    ++jobs_;
    const Status queued = shared_->pool.try_submit([this] {
      std::deque<Call> lost;
      std::unique_lock lock(mutex_);
      settled_.wait(lock, [&] { return in_flight_ == 0 && !pumping_; });
      const std::string scheme = forced_;
      lock.unlock();
      auto way = connect(scheme, after(timeout_));
      lock.lock();
      connecting_ = false;
      if (way) {
        std::swap(way_, *way);
        pump(lock, nullptr);
      } else {
        lost.swap(ordered_);
        lost.insert(lost.end(), concurrent_.begin(), concurrent_.end());
        concurrent_.clear();
        for (const Call& call : lost) call->place = Pending::State::Place::kGone;
      }
      lock.unlock();
      if (!lost.empty()) finish_all(lost, way.error());
      if (way) way->connection.reset();  // the broken one
      lock.lock();
      leave();
    });
    if (queued) return;
    connecting_ = false;
    --jobs_;
  }

  const std::shared_ptr<Shared> shared_;
  const Address address_;
  const InterfacePtr interface_;
  std::chrono::milliseconds timeout_{0};

  std::mutex switching_mutex_;
  mutable std::mutex mutex_;
  std::condition_variable settled_;
  Way way_;
  std::string forced_;
  std::deque<Call> ordered_;
  std::deque<Call> concurrent_;
  std::uint64_t last_sequence_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t ordered_in_flight_ = 0;
  int jobs_ = 0;  // threads that use this without owning it
  bool pumping_ = false;
  bool connecting_ = false;
  bool gate_closed_ = false;
  bool closed_ = false;
};

void expire(const Call& call) {
  if (const std::shared_ptr<Core> core = call->core.lock()) core->time_out(call);
}

Call broken_call(Error error) {
  auto call = std::make_shared<Pending::State>();
  call->place = Pending::State::Place::kGone;
  call->finish(Failure{std::move(error), Fate::kNotRun});
  return call;
}

class RemoteImpl final : public Remote {
 public:
  explicit RemoteImpl(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~RemoteImpl() override {
    // Calls' ends are told on a thread of the connection, and closing waits for that: another one does it.
    if (Telling::here())
      std::thread([core = core_] { core->close(); }).detach();
    else
      core_->close();
  }
  const InterfacePtr& interface() const override { return core_->interface(); }

  Outcome call(std::uint32_t method, std::vector<Value> arguments, CallOptions options) override {
    auto call = core_->make(method, std::move(arguments), options);
    if (!call) return Failure{std::move(call).error(), Fate::kNotRun};
    core_->run(*call);
    return std::move((*call)->outcome);  // nobody else has it
  }
  Pending start(std::uint32_t method, std::vector<Value> arguments, CallOptions options) override {
    auto call = core_->make(method, std::move(arguments), options);
    if (!call) return Pending(broken_call(std::move(call).error()));
    core_->start(*call);
    return Pending(std::move(*call));
  }
  Status send(std::uint32_t method, std::vector<Value> arguments) override {
    MVM_ASSIGN(const Call call, core_->make(method, std::move(arguments), {}));
    if (!interface()->methods[method].one_way)
      return Error(ErrorCode::kInvalid, interface()->methods[method].name + " is not one-way");
    core_->start(call);
    return ok();
  }
  Status flush(Clock::Instant moment) override { return core_->flush(moment); }
  std::string protocol() const override { return core_->protocol(); }
  Status switch_to(const std::string& scheme, Clock::Instant moment) override {
    return core_->switch_to(scheme, moment);
  }

 private:
  const std::shared_ptr<Core> core_;
};

class ClientImpl final : public Client {
 public:
  ClientImpl(const Providers& providers, Options options)
      : shared_(std::make_shared<Shared>(providers, std::move(options))) {}
  Result<std::shared_ptr<Remote>> bind(const Address& address, InterfacePtr interface,
                                       BindOptions options) override {
    MVM_TRY(check(*interface));
    auto core = std::make_shared<Core>(shared_, address, std::move(interface));
    MVM_TRY(core->open(options));
    return std::shared_ptr<Remote>(std::make_shared<RemoteImpl>(std::move(core)));
  }

 private:
  const std::shared_ptr<Shared> shared_;
};

Fate fate_of(const Outcome& outcome) {
  const auto* failure = std::get_if<Failure>(&outcome);
  return failure == nullptr ? Fate::kRan : failure->fate;
}

}  // namespace

const Outcome& Pending::get() const {
  if (Telling::here() && !over()) {
    const std::shared_ptr<Core> core = state_->core.lock();
    const bool taken_back = core && core->withdraw(state_);
    state_->finish(
        failed(ErrorCode::kConflict,
               "a callback of then() waited for this call: that could last for ever; give it a callback, too",
               taken_back ? Fate::kNotRun : Fate::kUnknown));
  }
  (void)state_->wait_until(kNever);
  return state_->outcome;
}

bool Pending::wait_until(Clock::Instant moment) const { return state_->wait_until(moment); }
bool Pending::over() const { return state_->over.load(std::memory_order_acquire); }

void Pending::then(std::function<void(const Outcome&)> callback) const {
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->over.load(std::memory_order_relaxed)) {
      state_->callbacks.push_back(std::move(callback));
      return;
    }
  }
  callback(state_->outcome);
}

Fate Pending::cancel(Clock::Instant moment) const {
  const std::shared_ptr<Core> core = state_->core.lock();
  if (!over() && core && core->withdraw(state_))
    state_->finish(failed(ErrorCode::kCancelled, "the call was cancelled", Fate::kNotRun));
  if (!state_->wait_until(Telling::here() ? Clock::Instant::min() : moment))
    state_->finish(failed(ErrorCode::kCancelled, "the call was cancelled", Fate::kUnknown));
  return fate_of(state_->outcome);
}

Result<Address> Address::read(std::string_view text) {
  Address address;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string word(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    if (address.service.empty())
      address.service = word;
    else if (scheme_of(word).empty() || address.endpoints.size() == kMostEndpoints)
      return Error(ErrorCode::kInvalid, "reference: found \"" + word.substr(0, 200) +
                                            "\", expected NAME ENDPOINT..., at most " +
                                            std::to_string(kMostEndpoints));
    else
      address.endpoints.push_back(word);
  }
  if (address.service.empty() || address.endpoints.empty())
    return Error(ErrorCode::kInvalid, "reference: expected NAME ENDPOINT...");
  return address;
}

std::string Address::text() const {
  std::string text = service;
  for (const std::string& endpoint : endpoints) text += " " + endpoint;
  return text;
}

std::unique_ptr<Client> Client::create(const Providers& providers, Options options) {
  return std::make_unique<ClientImpl>(providers, std::move(options));
}

}  // namespace mvm::rmix
