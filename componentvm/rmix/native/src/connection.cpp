#include "connection.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <unordered_map>

#include "awake.h"
#include "channel.h"
#include "mvm/queuevm/tls/tls_stream.h"
#include "mvm/rmix/sockets.h"

namespace mvm::rmix::native {

using namespace sockets;

namespace {

using std::chrono::steady_clock;

std::uint32_t milliseconds_until(Clock::Instant deadline) {
  if (deadline == kNever) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 1, UINT32_MAX));
}

/// What is left of a connection while its owner or its poller uses it.
///
/// One thread at a time reads (leads): a caller that waits for its own call, or the poller where calls are
/// open that nobody waits for.
class Link final : public Polled, public std::enable_shared_from_this<Link> {
 public:
  Link(std::unique_ptr<Channel> channel, InterfacePtr interface, Poller* poller)
      : channel_(std::move(channel)), interface_(std::move(interface)), poller_(poller) {}

  void begin() { name_ = poller_->add(channel_->fd(), weak_from_this()); }

  Status greet(const Hello& hello, Clock::Instant deadline) {
    bool welcome = false;
    const auto take = [&](const Header& header, std::span<const std::byte> body) -> Status {
      if (header.type == FrameType::kRefused) return read_refused(body);
      welcome = header.type == FrameType::kWelcome;
      return welcome ? ok()
                     : Status(Error(ErrorCode::kCorrupt, "the server does not speak the native protocol"));
    };
    for (bool sent = false; !welcome;) {
      MVM_ASSIGN(const bool moved, channel_->receive(kMostHello, Look::kWoken, take));
      if (!sent && channel_->ready()) {
        MVM_TRY(channel_->send(write_hello(hello)));
        sent = true;
        continue;
      }
      if (moved || !channel_->arm()) continue;
      const short events = static_cast<short>(POLLIN | (channel_->wants_write() ? POLLOUT : 0));
      if (!wait_for(channel_->fd(), events, deadline))
        return Error(ErrorCode::kTimeout, "the server did not greet in time");
    }
    return ok();
  }

  std::uint64_t call(const Request& request, Done done) {
    const std::uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
    auto frame = write_call(number, request.method, milliseconds_until(request.deadline), request.arguments);
    if (!frame) {
      done(Failure{frame.error(), Fate::kNotRun});
      return number;
    }
    {
      const std::lock_guard lock(mutex_);
      if (!failed_) {
        calls_.emplace(number, Open{request.method, std::move(done), UINT64_MAX});
        done = nullptr;
      }
    }
    if (done) {
      done(Failure{Error(ErrorCode::kUnavailable, "the connection to the server is broken"), Fate::kNotRun});
      return number;
    }
    std::uint64_t begin = 0;
    const Status sent = channel_->send(*frame, &begin);
    {
      const std::lock_guard lock(mutex_);
      if (const auto open = calls_.find(number); open != calls_.end()) open->second.begin = begin;
    }
    if (!sent) fail(sent.error());
    if (!request.waits && take_lead()) settle();
    return number;
  }

  void cancel(std::uint64_t number) {
    if (const auto sent = channel_->send(write_empty(FrameType::kCancel, number)); !sent) fail(sent.error());
  }

  [[nodiscard]] bool usable() const { return usable_.load(std::memory_order_acquire); }

  void help(const std::atomic<bool>& over, Clock::Instant deadline) {
    if (!take_lead()) return;
    const auto done = [&] { return over.load(std::memory_order_acquire); };
    const auto ready = [&] {
      if (channel_->plain()) return !read(Look::kQuick) || done();
      return channel_->maybe() || done();
    };
    Look look = Look::kQuick;
    // Of a stream nothing can be there yet that is worth a system call.
    for (bool first = !channel_->spins() || channel_->plain(); !done(); first = false) {
      if (!first && !read(look)) break;
      look = Look::kQuick;
      if (done()) break;
      if (channel_->spins() && awake_(ready)) continue;
      if (!channel_->arm()) continue;
      const short events = static_cast<short>(POLLIN | (channel_->wants_write() ? POLLOUT : 0));
      const bool woken = wait_for(channel_->fd(), events, deadline);
      channel_->disarm();
      if (!woken) break;
      look = Look::kWoken;
    }
    settle();
  }

  void on_ready() override {
    {
      // Who leads arms it again where that is needed, with the lock too: what it armed is not disarmed here.
      const std::lock_guard lock(mutex_);
      if (failed_ || leading_) return poller_->disarm(channel_->fd(), name_);
      leading_ = true;
    }
    (void)read(Look::kToEnd);
    settle();
  }

  /// Ends what is open. No Done runs when this returns.
  void close() {
    poller_->remove(channel_->fd(), name_);
    fail(Error(ErrorCode::kUnavailable, "the reference was dropped"));
    std::unique_lock lock(mutex_);
    quiet_.wait(lock, [&] { return !leading_ && telling_ == 0; });
  }

 private:
  struct Open {
    std::uint32_t method = 0;
    Done done;
    std::uint64_t begin = UINT64_MAX;  // of its frame among all bytes sent
  };

  bool take_lead() {
    const std::lock_guard lock(mutex_);
    return !failed_ && !std::exchange(leading_, true);
  }

  /// Ends leading; what is still open is the poller's to wait for.
  void settle() {
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        if (failed_ || (calls_.empty() && !channel_->wants_write())) return give_lead();
      }
      if (channel_->arm()) break;
      (void)read(Look::kWoken);
    }
    const std::lock_guard lock(mutex_);
    give_lead();
    poller_->arm(channel_->fd(), name_, channel_->wants_write());
  }

  /// With the lock held.
  void give_lead() {
    leading_ = false;
    if (failed_) quiet_.notify_all();
  }

  /// The leader's. False where the connection is over.
  bool read(Look look) {
    const auto received = channel_->receive(
        kMostBytes, look,
        [this](const Header& header, std::span<const std::byte> body) { return take(header, body); });
    if (received) return true;
    fail(received.error());
    return false;
  }

  Status take(const Header& header, std::span<const std::byte> body) {
    if (header.type == FrameType::kGoodbye) {
      usable_.store(false, std::memory_order_release);
      end_above(header.number);
      return ok();
    }
    if (header.type != FrameType::kResult && header.type != FrameType::kException &&
        header.type != FrameType::kFailure)
      return Error(ErrorCode::kCorrupt, "a server sends what only callers send");
    Open open;
    {
      const std::lock_guard lock(mutex_);
      const auto found = calls_.find(header.number);
      if (found == calls_.end()) return Error(ErrorCode::kCorrupt, "an answer to no call");
      open = std::move(found->second);
      calls_.erase(found);
    }
    auto outcome = read_outcome(header, body, interface_->methods[open.method]);
    if (outcome) {
      open.done(std::move(*outcome));
      return ok();
    }
    open.done(Failure{outcome.error(), Fate::kRan});
    return outcome.error();
  }

  /// The server closes; it has seen no call after this one.
  void end_above(std::uint64_t number) {
    std::vector<Open> over;
    {
      const std::lock_guard lock(mutex_);
      for (auto at = calls_.begin(); at != calls_.end();) {
        if (at->first <= number) {
          ++at;
          continue;
        }
        over.push_back(std::move(at->second));
        at = calls_.erase(at);
      }
    }
    for (Open& open : over)
      open.done(Failure{Error(ErrorCode::kUnavailable, "the server closes"), Fate::kNotRun});
  }

  void fail(const Error& error) {
    usable_.store(false, std::memory_order_release);
    std::unordered_map<std::uint64_t, Open> calls;
    {
      const std::lock_guard lock(mutex_);
      failed_ = true;
      calls.swap(calls_);
      ++telling_;
    }
    ::shutdown(channel_->fd(), SHUT_RDWR);  // wakes who leads
    std::vector<std::pair<std::uint64_t, Open*>> in_order;
    for (auto& [number, open] : calls) in_order.emplace_back(number, &open);
    std::sort(in_order.begin(), in_order.end());
    for (const auto& [number, open] : in_order) {
      const Fate fate =
          open->begin != UINT64_MAX && channel_->left() <= open->begin ? Fate::kNotRun : Fate::kUnknown;
      open->done(Failure{Error(ErrorCode::kUnavailable, error.message()), fate});
    }
    const std::lock_guard lock(mutex_);
    --telling_;
    quiet_.notify_all();
  }

  const std::unique_ptr<Channel> channel_;
  const InterfacePtr interface_;
  Poller* const poller_;
  std::uint64_t name_ = 0;
  std::atomic<std::uint64_t> next_{1};
  std::atomic<bool> usable_{true};
  Awake awake_;  // the leader's
  std::mutex mutex_;
  std::condition_variable quiet_;
  std::unordered_map<std::uint64_t, Open> calls_;
  bool leading_ = false;
  bool failed_ = false;
  int telling_ = 0;
};

class NativeConnection final : public Connection {
 public:
  NativeConnection(std::shared_ptr<Poller> poller, std::shared_ptr<Link> link)
      : poller_(std::move(poller)), link_(std::move(link)) {}
  ~NativeConnection() override { link_->close(); }
  std::uint64_t call(const Request& request, Done done) override {
    return link_->call(request, std::move(done));
  }
  void cancel(std::uint64_t call) override { link_->cancel(call); }
  bool keeps_order() const override { return true; }
  bool usable() const override { return link_->usable(); }
  void help(const std::atomic<bool>& over, Clock::Instant deadline) override { link_->help(over, deadline); }

 private:
  const std::shared_ptr<Poller> poller_;  // never on its own thread, as the last owner of a link may be
  const std::shared_ptr<Link> link_;
};

Result<std::unique_ptr<Channel>> open_channel(const Place& place, const ConnectOptions& options) {
  MVM_ASSIGN(UniqueFd socket, connect_to(place, options.deadline));
  if (place.scheme == "native+shm") {
    MVM_ASSIGN(auto memory, Memory::join(std::move(socket), options.deadline));
    return std::make_unique<Channel>(std::move(memory));
  }
  if (place.scheme == "native+tcp")
    return std::make_unique<Channel>(queuevm::make_tcp_stream(std::move(socket), true), false);
  MVM_ASSIGN(const queuevm::StreamFactory factory,
             queuevm::tls::make_streams({options.tls.certificate, options.tls.key, options.tls.authority}));
  return std::make_unique<Channel>(factory(std::move(socket), true), true);
}

}  // namespace

Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options, std::shared_ptr<Poller> poller) {
  MVM_ASSIGN(const Place place, Place::read(options.endpoint));
  MVM_ASSIGN(std::unique_ptr<Channel> channel, open_channel(place, options));
  auto link = std::make_shared<Link>(std::move(channel), options.interface, poller.get());
  MVM_TRY(link->greet({.version = kVersion,
                       .service = options.service,
                       .interface = options.interface->text(),
                       .digest = digest(*options.interface),
                       .token = options.token,
                       .server = place.server},
                      options.deadline));
  link->begin();
  return std::unique_ptr<Connection>(std::make_unique<NativeConnection>(std::move(poller), std::move(link)));
}

Poller::Poller()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { run(); }) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event);
}

Poller::~Poller() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

std::uint64_t Poller::add(int fd, std::weak_ptr<Polled> polled) {
  std::uint64_t name = 0;
  {
    const std::lock_guard lock(mutex_);
    name = ++last_;
    polled_[name] = std::move(polled);
  }
  epoll_event event{.events = EPOLLRDHUP | EPOLLET, .data = {.u64 = name}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  return name;
}

void Poller::arm(int fd, std::uint64_t name, bool write) {
  epoll_event event{.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data = {.u64 = name}};
  if (write) event.events |= EPOLLOUT;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::disarm(int fd, std::uint64_t name) {
  epoll_event event{.events = EPOLLRDHUP | EPOLLET, .data = {.u64 = name}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::remove(int fd, std::uint64_t name) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  const std::lock_guard lock(mutex_);
  polled_.erase(name);
}

void Poller::run() {
  std::array<epoll_event, 32> events{};
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const std::uint64_t name = events[static_cast<std::size_t>(i)].data.u64;
      if (name == 0) return;
      std::shared_ptr<Polled> polled;
      {
        const std::lock_guard lock(mutex_);
        if (const auto found = polled_.find(name); found != polled_.end()) polled = found->second.lock();
      }
      if (polled) polled->on_ready();
    }
  }
}

}  // namespace mvm::rmix::native
