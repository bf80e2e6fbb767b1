#include "listener.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <thread>
#include <unordered_map>

#include "awake.h"
#include "channel.h"
#include "mvm/base/log.h"
#include "mvm/queuevm/tls/tls_stream.h"
#include "mvm/rmix/sockets.h"

namespace mvm::rmix::native {

using namespace sockets;

namespace {

using std::chrono::steady_clock;

constexpr std::size_t kThreads = 3;  // that wait for callers; all but one of them may run methods
constexpr std::size_t kMostPeers = 8192;
constexpr std::size_t kMostSilent = 256;  // connections that have not greeted
constexpr std::chrono::seconds kGreetWithin{10};

/// Calls that are under way, whoever brought them.
struct Open {
  std::mutex mutex;
  std::condition_variable none;
  std::size_t calls = 0;
};

struct Arrived {
  std::uint64_t number = 0;
  Incoming incoming;
};

/// A caller's connection. One thread at a time reads it.
class Peer : public std::enable_shared_from_this<Peer> {
 public:
  Peer(std::unique_ptr<Channel> channel, Caller caller, std::shared_ptr<Open> open, int epoll)
      : channel_(std::move(channel)), caller_(std::move(caller)), open_(std::move(open)), epoll_(epoll) {}

  [[nodiscard]] Channel& channel() { return *channel_; }
  [[nodiscard]] Awake& awake() { return awake_; }
  [[nodiscard]] bool greeted() const { return greeted_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool overdue(Clock::Instant now) const { return !greeted() && now - since_ > kGreetWithin; }

  /// The system said that the caller is gone, behind what is still to be read.
  void set_ended() { ended_.store(true); }

  /// False: another thread reads, and will look again.
  bool begin_reading() {
    const std::lock_guard lock(mutex_);
    again_ = reading_;
    return !std::exchange(reading_, true);
  }
  /// False: something came meanwhile, so go on.
  bool end_reading() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(again_, false)) return false;
    reading_ = false;
    idle_.notify_all();
    return true;
  }

  /// From now on the connection rings, as `name`.
  void watch(std::uint64_t name) {
    name_ = name;
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = name}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, channel_->fd(), &event);
  }
  /// The reader's: he is awake, and what comes need not ring.
  void hush() {
    hushed_ = true;
    channel_->disarm();
    if (channel_->plain()) ring(false);
  }
  /// The reader's: he goes, and what comes from now on rings. False: there is something already.
  bool arm() {
    if (std::exchange(hushed_, false) && channel_->plain()) ring(true);
    return channel_->arm();
  }

  /// The reader's: what has arrived. Calls come behind `calls`, all else is done at once.
  Status read(Dispatcher& dispatcher, const std::string& server, bool woken, std::vector<Arrived>& calls) {
    const Look look = ended_.load() ? Look::kToEnd : woken ? Look::kWoken : Look::kQuick;
    const auto received = channel_->receive(greeted() ? kMostBytes : kMostHello, look,
                                            [&](const Header& header, std::span<const std::byte> body) {
                                              if (!target_) return greet(dispatcher, server, header, body);
                                              return take(header, body, calls);
                                            });
    return received ? ok() : Status(received.error());
  }

  void answer(std::uint64_t number, const Method& method, const Outcome& outcome) {
    const std::string frame = write_outcome(number, method, outcome);
    {
      const std::lock_guard lock(mutex_);
      tickets_.erase(number);
    }
    if (!channel_->send(frame)) hang_up();
    if (channel_->plain() && channel_->wants_write()) ring_for_room();
    const std::lock_guard lock(open_->mutex);
    if (--open_->calls == 0) open_->none.notify_all();
  }

  /// The caller is gone: nobody waits for its calls any more. Those that are one-way still run.
  void leave() {
    std::vector<std::uint64_t> dropped;
    {
      const std::lock_guard lock(mutex_);
      gone_ = true;
      for (const auto& [number, call] : tickets_)
        if (!call.one_way && call.ticket->cancel()) dropped.push_back(number);
      for (const std::uint64_t number : dropped) tickets_.erase(number);
    }
    hang_up();
    const std::lock_guard lock(open_->mutex);
    open_->calls -= dropped.size();
    if (open_->calls == 0) open_->none.notify_all();
  }

  /// Takes no more calls, and says so.
  void say_goodbye() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return !reading_; });
    reading_ = true;  // for good
    if (!greeted() || gone_) return;
    lock.unlock();
    (void)channel_->send(write_empty(FrameType::kGoodbye, last_));
  }

 private:
  struct Ticketed {
    std::shared_ptr<Ticket> ticket;
    bool one_way = false;
  };

  void hang_up() { ::shutdown(channel_->fd(), SHUT_RDWR); }

  /// Of a socket: what rings besides its end. Written with the lock held: the last word has seen all.
  void ring(bool reads) {
    const std::lock_guard lock(ringing_);
    rings_for_bytes_ = reads;
    ring_locked();
  }
  void ring_for_room() {
    const std::lock_guard lock(ringing_);
    if (channel_->wants_write()) ring_locked();
  }
  void ring_locked() {
    epoll_event event{.events = EPOLLRDHUP | EPOLLET, .data = {.u64 = name_}};
    if (rings_for_bytes_) event.events |= EPOLLIN;
    if (channel_->wants_write()) event.events |= EPOLLOUT;
    ::epoll_ctl(epoll_, EPOLL_CTL_MOD, channel_->fd(), &event);
  }

  Status greet(Dispatcher& dispatcher, const std::string& server, const Header& header,
               std::span<const std::byte> body) {
    Status welcome = header.type == FrameType::kHello
                         ? admit(dispatcher, server, body)
                         : Status(Error(ErrorCode::kCorrupt, "a caller does not begin with a greeting"));
    if (welcome) return channel_->send(write_empty(FrameType::kWelcome, 0));
    (void)channel_->send(write_refused(welcome.error()));
    return welcome;
  }

  Status admit(Dispatcher& dispatcher, const std::string& server, std::span<const std::byte> body) {
    MVM_ASSIGN(const Hello hello, read_hello(body));
    if (!hello.server.empty() && hello.server != server)
      return Error(ErrorCode::kNotFound, "another server listens here now");
    MVM_ASSIGN(auto target, dispatcher.find(hello.service));
    if (hello.interface != target->interface().text() || hello.digest != digest(target->interface()))
      return Error(ErrorCode::kUnsupported, "service " + target->name() + " is " +
                                                target->interface().text() + ", and not the " +
                                                hello.interface.substr(0, 80) + " that the caller knows");
    caller_.token = hello.token;
    caller_.certificate = channel_->certificate();
    MVM_TRY(dispatcher.admit(*target, caller_));
    known_ = std::make_shared<const Caller>(caller_);
    order_ = dispatcher.make_order();
    target_ = std::move(target);
    greeted_.store(true, std::memory_order_relaxed);
    return ok();
  }

  Status take(const Header& header, std::span<const std::byte> body, std::vector<Arrived>& calls) {
    if (header.type == FrameType::kCancel) return cancel(header.number);
    const std::vector<Method>& methods = target_->interface().methods;
    if (header.type != FrameType::kCall || header.method >= methods.size() || header.number <= last_)
      return Error(ErrorCode::kCorrupt, "a caller breaks the protocol");
    last_ = header.number;
    const Method& method = methods[header.method];
    MVM_ASSIGN(CallBody call, read_call(body, method));
    const auto ticket = std::make_shared<Ticket>();
    {
      const std::lock_guard lock(mutex_);
      if (tickets_.size() >= kMostOpen) return Error(ErrorCode::kCorrupt, "a caller has too many open calls");
      tickets_.emplace(header.number, Ticketed{ticket, method.one_way});
    }
    {
      const std::lock_guard lock(open_->mutex);
      ++open_->calls;
    }
    calls.push_back(
        {header.number,
         {.target = target_,
          .method = header.method,
          .arguments = std::move(call.arguments),
          .caller = known_,
          .deadline = call.left == 0 ? kNever : steady_clock::now() + std::chrono::milliseconds(call.left),
          .order = order_,
          .ticket = ticket}});
    return ok();
  }

  Status cancel(std::uint64_t number) {
    std::shared_ptr<Ticket> ticket;
    {
      const std::lock_guard lock(mutex_);
      const auto found = tickets_.find(number);
      if (found == tickets_.end()) return ok();  // its answer is under way
      ticket = found->second.ticket;
    }
    if (ticket->cancel())
      answer(number, target_->interface().methods.front(),
             failed(ErrorCode::kCancelled, "the call was cancelled", Fate::kNotRun));
    return ok();
  }

  const std::unique_ptr<Channel> channel_;
  Caller caller_;
  const std::shared_ptr<Open> open_;
  const int epoll_;
  std::uint64_t name_ = 0;
  const Clock::Instant since_ = steady_clock::now();
  std::atomic<bool> greeted_{false};
  std::atomic<bool> ended_{false};
  std::mutex ringing_;
  bool rings_for_bytes_ = true;
  // The reader's.
  Awake awake_;
  bool hushed_ = false;
  std::shared_ptr<Exported> target_;
  std::shared_ptr<const Caller> known_;
  std::shared_ptr<Order> order_;
  std::uint64_t last_ = 0;  // call

  std::mutex mutex_;
  std::condition_variable idle_;
  bool reading_ = false;
  bool again_ = false;
  bool gone_ = false;
  std::unordered_map<std::uint64_t, Ticketed> tickets_;
};
using PeerPtr = std::shared_ptr<Peer>;

/// What the thread at hand serves, and whether it reads on after its answer.
struct Serving {
  Peer* peer = nullptr;
  bool reads_on = false;
};
thread_local Serving* serving = nullptr;

class NativeListener final : public Listener {
 public:
  NativeListener(Place place, UniqueFd socket, std::string server, queuevm::StreamFactory tls,
                 Dispatcher& dispatcher)
      : place_(std::move(place)),
        socket_(std::move(socket)),
        server_(std::move(server)),
        tls_(std::move(tls)),
        dispatcher_(dispatcher),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    watch(socket_.get(), kListening, EPOLLIN | EPOLLEXCLUSIVE);
    watch(stop_.get(), kStop, EPOLLIN);
    for (std::size_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { run(); });
  }

  ~NativeListener() override {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_.get(), nullptr);
    std::unordered_map<std::uint64_t, PeerPtr> peers;
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
      peers = peers_;
    }
    for (const auto& [name, peer] : peers) peer->say_goodbye();
    {
      std::unique_lock lock(open_->mutex);
      open_->none.wait(lock, [&] { return open_->calls == 0; });
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(stop_.get(), &one, sizeof one);
    for (std::thread& thread : threads_) thread.join();
    for (const auto& [name, peer] : peers) peer->leave();
    if (!place_.path.empty() && place_.path[0] != '@') ::unlink(place_.path.c_str());
  }

  std::string endpoint() const override { return place_.text(); }

 private:
  static constexpr std::uint64_t kListening = 0;
  static constexpr std::uint64_t kStop = 1;

  void watch(int fd, std::uint64_t name, std::uint32_t events) {
    epoll_event event{.events = events, .data = {.u64 = name}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  void run() {
    for (;;) {
      epoll_event event{};
      if (::epoll_wait(epoll_.get(), &event, 1, -1) != 1) continue;
      if (event.data.u64 == kStop) return;
      if (event.data.u64 == kListening) {
        accept();
        continue;
      }
      PeerPtr peer;
      {
        const std::lock_guard lock(mutex_);
        if (const auto found = peers_.find(event.data.u64); found != peers_.end()) peer = found->second;
      }
      if (!peer) continue;
      if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) peer->set_ended();
      if (!serve(*peer)) drop(event.data.u64);
    }
  }

  void accept() {
    UniqueFd socket = accept_from(socket_.get());
    if (!socket) {
      const bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
      if (exhausted) (void)::poll(nullptr, 0, 100);  // it will be ready again at once
      return;
    }
    Caller caller{.scheme = place_.scheme,
                  .address = peer_address(socket.get()),
                  .token = {},
                  .certificate = {},
                  .uid = {}};
    std::unique_ptr<Channel> channel;
    if (place_.scheme == "native+shm") {
      caller.uid = peer_uid(socket.get());
      auto memory = Memory::make(std::move(socket));
      if (!memory) {
        log::warning("rmix.not-accepted", {{"reason", memory.error().message()}});
        return;
      }
      channel = std::make_unique<Channel>(std::move(*memory));
    } else if (tls_) {
      channel = std::make_unique<Channel>(tls_(std::move(socket), false), true);
    } else {
      channel = std::make_unique<Channel>(queuevm::make_tcp_stream(std::move(socket), false), false);
    }
    const bool slept = channel->arm();
    const auto peer = std::make_shared<Peer>(std::move(channel), std::move(caller), open_, epoll_.get());
    std::uint64_t name = 0;
    {
      const std::lock_guard lock(mutex_);
      sweep();
      if (closing_ || peers_.size() >= kMostPeers) return;
      name = ++last_name_;
      peers_[name] = peer;
    }
    peer->watch(name);
    if (!slept && !serve(*peer)) drop(name);
  }

  /// Connections that say nothing. With the lock held.
  void sweep() {
    std::size_t silent = 0;
    const Clock::Instant now = steady_clock::now();
    for (auto at = peers_.begin(); at != peers_.end();) {
      if (!at->second->greeted()) ++silent;
      if (at->second->overdue(now) || (silent > kMostSilent && !at->second->greeted())) {
        at->second->leave();
        at = peers_.erase(at);
      } else {
        ++at;
      }
    }
  }

  void drop(std::uint64_t name) {
    const std::lock_guard lock(mutex_);
    const auto found = peers_.find(name);
    if (found == peers_.end()) return;
    found->second->leave();
    peers_.erase(found);
  }

  /// False where the connection is over.
  bool serve(Peer& peer) {
    // One thread at least goes on waiting for other callers.
    const bool runs = running_.fetch_add(1) < static_cast<int>(kThreads) - 1;
    bool alive = true;
    if (peer.begin_reading()) {
      Serving here{.peer = &peer};
      while (serve_once(peer, runs, here, alive)) {
      }
    }
    running_.fetch_sub(1);
    return alive;
  }

  /// As the reader. True where it still is, and awake.
  bool serve_once(Peer& peer, bool runs, Serving& here, bool& alive) {
    std::vector<Arrived> calls;
    std::vector<std::function<void()>> turns;
    bool woken = true;  // the connection's descriptor may have something to say
    if (std::exchange(here.reads_on, false) && alive) {
      const auto ready = [&] {
        if (!peer.channel().maybe()) return false;
        alive = peer.read(dispatcher_, server_, false, calls).has_value();
        return !alive || !calls.empty();
      };
      woken = !peer.awake()(ready);
    }
    for (;;) {
      if (woken) alive = alive && peer.read(dispatcher_, server_, woken, calls).has_value();
      woken = true;
      // In their order, which is only known as long as no other thread reads.
      for (Arrived& call : calls) {
        Done answer = done(peer, call);
        if (auto turn = dispatcher_.place(std::move(call.incoming), std::move(answer)))
          turns.push_back(std::move(turn));
      }
      calls.clear();
      // Asleep before others may read: whatever comes now rings.
      if (alive && !peer.arm()) continue;
      if (peer.end_reading()) break;
    }
    if (turns.size() != 1 || !runs) {
      for (const auto& turn : turns)
        if (!dispatcher_.try_submit(turn)) turn();  // callers wait where all threads are busy
      return false;
    }
    Serving* const outer = std::exchange(serving, &here);
    turns.front()();
    serving = outer;
    return here.reads_on;
  }

  Done done(Peer& peer, const Arrived& call) {
    const Method& method = call.incoming.target->interface().methods[call.incoming.method];
    return [peer = peer.shared_from_this(), target = call.incoming.target, number = call.number,
            &method](const Outcome& outcome) {
      Serving* const here = serving;
      // The caller's next call comes soon: it need not ring for it.
      if (here != nullptr && here->peer == peer.get() && !here->reads_on && peer->channel().spins() &&
          peer->begin_reading()) {
        peer->hush();
        here->reads_on = true;
      }
      peer->answer(number, method, outcome);
    };
  }

  const Place place_;
  const UniqueFd socket_;
  const std::string server_;
  const queuevm::StreamFactory tls_;
  Dispatcher& dispatcher_;
  const UniqueFd epoll_;
  const UniqueFd stop_;
  const std::shared_ptr<Open> open_ = std::make_shared<Open>();
  std::atomic<int> running_{0};
  std::mutex mutex_;
  bool closing_ = false;
  std::uint64_t last_name_ = kStop;
  std::unordered_map<std::uint64_t, PeerPtr> peers_;
  std::vector<std::thread> threads_;
};

}  // namespace

Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher) {
  MVM_ASSIGN(Place place, Place::read(options.endpoint));
  queuevm::StreamFactory tls;
  if (place.scheme == "native+tls") {
    MVM_ASSIGN(tls,
               queuevm::tls::make_streams({options.tls.certificate, options.tls.key, options.tls.authority}));
  }
  MVM_ASSIGN(UniqueFd socket, listen_at(place));
  if (place.scheme == "native+shm") place.server = options.server;
  return std::unique_ptr<Listener>(std::make_unique<NativeListener>(
      std::move(place), std::move(socket), options.server, std::move(tls), dispatcher));
}

}  // namespace mvm::rmix::native
