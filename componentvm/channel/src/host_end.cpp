#include "mvm/channel/host_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "line.h"
#include "mvm/base/assert.h"
#include "mvm/base/digest.h"
#include "mvm/base/frame_stream.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::channel {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
using Time = SteadyClock::time_point;

constexpr milliseconds kHelloAgain{1000};
constexpr milliseconds kShortSession{1000};
constexpr milliseconds kOfferAgain{100};  // an event whose handler failed: pause, doubling
constexpr milliseconds kOfferAgainMost{5000};
// Twice the kernel's window: whoever sends more than that breaks the protocol on purpose.
constexpr std::size_t kMaxEvents = 2 * kEventWindow;
constexpr std::size_t kMaxEventBytes = (2 * kEventWindowBytes) + (16 * kMaxFrameText);
constexpr std::size_t kParsedFactor = 8;  // what JSON text grows to in memory, or nearly

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.empty() || text.size() >= sizeof address.sun_path)
    return Error(ErrorCode::kInvalid,
                 "socket path: found " + std::to_string(text.size()) + " bytes, expected 1 to 107: " + text);
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

Result<UniqueFd> listen_at(const std::filesystem::path& path, std::optional<unsigned> user) {
  MVM_ASSIGN(const sockaddr_un address, address_of(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno(errno, "socket");
  // Left by a daemon that was killed. Whoever is connected to it sees that end closed already.
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return Error::from_errno(errno, "remove " + path.string());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Error::from_errno(errno, "make socket " + path.string());
  if (::chmod(path.c_str(), 0600) != 0 ||
      (user && *user != ::geteuid() && ::lchown(path.c_str(), *user, *user) != 0))
    return Error::from_errno(errno, "protect socket " + path.string());
  if (::listen(fd.get(), 4) != 0) return Error::from_errno(errno, "listen at " + path.string());
  return fd;
}

Result<UniqueFd> connect_to(const std::filesystem::path& path) {
  MVM_ASSIGN(const sockaddr_un address, address_of(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno(errno, "socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Error::from_errno(errno, "connect to " + path.string());
  return fd;
}

/// One call that waits for its answer.
struct Pending {
  std::string op;
  nlohmann::json args;
  std::string blob;
  std::vector<UniqueFd> descriptors;
  bool sent = false;   // in this session
  bool tried = false;  // in any session of this boot
  std::optional<Result<Reply>> answer;
};

std::vector<UniqueFd> duplicates(const std::vector<UniqueFd>& descriptors) {
  std::vector<UniqueFd> copies;
  for (const UniqueFd& fd : descriptors) copies.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  return copies;
}

}  // namespace

struct HostEnd::State {
  Options options;
  Callbacks callbacks;
  bool serial = false;
  UniqueFd listener;
  Wake wake;
  std::thread io_thread;
  std::thread event_thread;

  mutable std::mutex mutex;
  mutable std::condition_variable changed;  // an answer, a session, an event, the end
  bool ending = false;
  bool is_up = false;
  bool gone = false;  // kGiven: closed for good
  std::optional<Error> given_up;
  std::uint64_t session_number = 0;
  std::string boot;  // of the running or last session
  Error why{ErrorCode::kUnavailable, "the kernel has not connected yet"};
  Position position;
  std::uint64_t ack_due = 0;  // to be sent
  struct Queued {
    Event event;
    std::size_t cost = 0;
  };
  std::deque<Queued> events;
  std::size_t event_bytes = 0;
  std::map<std::uint64_t, Pending> calls;  // by number: sent in the order they were made
  std::uint64_t next_call = 1;
  std::string call_prefix = random_hex(8);
  Time heard = SteadyClock::now();

  // Used by the I/O thread alone.
  std::unique_ptr<FrameStream> stream;
  std::string session;  // drawn by us, sent in our hello
  Time begin{}, next_hello{}, last_ping{}, not_before{};
  milliseconds wait{0};

  State(Options o, Callbacks c) : options(std::move(o)), callbacks(std::move(c)) {
    position = options.position;
  }

  // I/O thread.
  void io();
  void step();
  void open_stream();
  void adopt_connection(UniqueFd fd);
  void accept_connection();
  void cut(const Error& reason);
  Status read_frames();
  Status take(Frame frame);
  Status take_hello(const nlohmann::json& head);
  Status greet();
  void take_answer(Frame frame);
  Status take_event(Frame frame);
  void begin_session(const std::string& their_boot);
  Status send_due();
  Status send_timers();
  [[nodiscard]] int next_timer() const;

  // Event thread.
  void handle_events();
  void handle_one(std::unique_lock<std::mutex>& lock, milliseconds& pause);
  void notify_state(std::unique_lock<std::mutex>& lock, std::uint64_t& notified, bool& notified_up);
};

// ---- I/O thread ------------------------------------------------------------------------------------------

void HostEnd::State::io() {
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (ending) return;
    }
    if (!stream) open_stream();
    step();
  }
}

void HostEnd::State::open_stream() {
  if (options.way == Way::kListen || SteadyClock::now() < not_before) return;
  if (options.way == Way::kGiven) {
    if (options.given) adopt_connection(std::move(options.given));
    return;
  }
  auto fd = connect_to(options.path);
  if (fd) {
    adopt_connection(std::move(*fd));
  } else {
    wait = std::clamp(wait * 2, options.redial, options.redial * 20);
    not_before = SteadyClock::now() + wait;
    const std::lock_guard lock(mutex);
    if (!is_up) why = fd.error();
  }
}

void HostEnd::State::adopt_connection(UniqueFd fd) {
  stream = std::make_unique<FrameStream>(std::move(fd), FrameStream::Options{.serial = serial});
  session.clear();
  begin = last_ping = SteadyClock::now();
  if (!serial) return;  // the kernel's hello comes first
  Status sent = stream->send_raw(std::string(kSerialPadding, '\0'));
  if (sent) sent = greet();
  if (!sent) cut(sent.error());
}

void HostEnd::State::accept_connection() {
  UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {
    not_before = SteadyClock::now() + options.redial;  // out of descriptors, perhaps: no busy loop
    return;
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return;
  if (options.peer_user && peer.uid != *options.peer_user) {
    log::warning("channel.stranger", {{"node", options.node}, {"uid", peer.uid}});
    not_before = SteadyClock::now() + options.redial;
    return;
  }
  if (stream) cut(Error(ErrorCode::kUnavailable, "the kernel connected again"));
  adopt_connection(std::move(fd));
}

void HostEnd::State::cut(const Error& reason) {
  stream.reset();
  session.clear();
  const Time now = SteadyClock::now();
  // Who connects and breaks off again and again is let in ever more slowly.
  wait = now - begin > kShortSession ? milliseconds(0)
                                     : std::clamp(wait * 2, options.redial, options.redial * 20);
  not_before = now + wait;
  const std::lock_guard lock(mutex);
  why = reason;
  if (options.way == Way::kGiven) gone = true;
  if (is_up) log::info("channel.lost", {{"node", options.node}, {"reason", reason.message()}});
  is_up = false;
  for (auto& [number, call] : calls) call.sent = false;
  changed.notify_all();
}

int HostEnd::State::next_timer() const {
  const Time now = SteadyClock::now();
  Time next = now + options.keep_alive;
  if (not_before > now) next = std::min(next, not_before);
  if (stream && serial) next = std::min(next, std::max(next_hello, now));
  if (stream) next = std::min(next, std::max(last_ping, heard) + options.keep_alive);
  return static_cast<int>(
      std::clamp<long long>(std::chrono::ceil<milliseconds>(next - now).count(), 0, 60'000));
}

void HostEnd::State::step() {
  const bool accepting = listener && SteadyClock::now() >= not_before;
  std::array<pollfd, 3> items{{{wake.fd(), POLLIN, 0},
                               {accepting ? listener.get() : -1, POLLIN, 0},
                               {stream ? stream->fd() : -1, stream ? stream->events() : short{0}, 0}}};
  if (::poll(items.data(), items.size(), next_timer()) < 0) return;  // EINTR
  if (items[0].revents != 0) wake.clear();
  if (stream) {
    Status status = ok();
    if ((items[2].revents & (POLLIN | POLLHUP | POLLERR)) != 0) status = read_frames();
    if (status) status = stream->flush();
    if (status) status = send_timers();
    if (status) status = send_due();
    if (!status) cut(status.error());
  }
  if (items[1].revents != 0) accept_connection();
}

Status HostEnd::State::read_frames() {
  MVM_TRY(stream->receive());
  for (;;) {
    MVM_ASSIGN(std::optional<Frame> frame, stream->next());
    if (!frame) return ok();
    {
      const std::lock_guard lock(mutex);
      heard = SteadyClock::now();
    }
    MVM_TRY(take(std::move(*frame)));
  }
}

Status HostEnd::State::take(Frame frame) {
  const std::string type = text_or(frame.head, "t");
  if (type == "hello") return take_hello(frame.head);
  if (type == "refuse")
    return Error(ErrorCode::kUnsupported, "the kernel speaks another version of the channel");
  bool open = false;
  {
    const std::lock_guard lock(mutex);
    open = is_up;
  }
  if (!open) return ok();  // left over from a former session on a serial line
  if (type == "rep") {
    take_answer(std::move(frame));
    return ok();
  }
  if (type == "ev") return take_event(std::move(frame));
  if (type == "ping" && stream->queued() < kOutputWindow) return stream->send({{"t", "pong"}});
  return ok();
}

Status HostEnd::State::greet() {
  if (session.empty()) session = random_hex(8);
  next_hello = SteadyClock::now() + kHelloAgain;
  nlohmann::json head{{"t", "hello"}, {"protocol", kProtocol}, {"session", session}};
  {
    const std::lock_guard lock(mutex);
    head["boot"] = position.boot;
    head["after"] = position.after;
  }
  return stream->send(std::move(head));
}

Status HostEnd::State::take_hello(const nlohmann::json& head) {
  if (number_or(head, "protocol") != kProtocol) {
    (void)stream->send({{"t", "refuse"}, {"speaks", nlohmann::json::array({kProtocol})}});
    return Error(ErrorCode::kUnsupported, "the kernel speaks another version of the channel");
  }
  const std::string node = text_or(head, "node").substr(0, 200);
  const std::string their_boot = text_or(head, "boot");
  if (node != options.node)
    return Error(ErrorCode::kRefused, "the kernel says it is node " + node + ", expected " + options.node);
  if (their_boot.empty() || their_boot.size() > 64) return Error(ErrorCode::kCorrupt, "a hello without boot");
  const std::string answers = text_or(head, "for");
  bool open = false;
  {
    const std::lock_guard lock(mutex);
    open = is_up;
  }
  if (!answers.empty() && answers == session) {
    if (!open) begin_session(their_boot);
    return ok();
  }
  if (!answers.empty()) return ok();  // of an earlier greeting
  if (open && !serial) return Error(ErrorCode::kCorrupt, "a second hello");
  if (open) {  // the kernel opened its end of the line anew
    const std::lock_guard lock(mutex);
    is_up = false;
    why = Error(ErrorCode::kUnavailable, "the kernel started again");
    for (auto& [number, call] : calls) call.sent = false;
    session.clear();
    changed.notify_all();
  }
  return stream->queued() < 2 * kSerialPadding ? greet() : ok();
}

void HostEnd::State::begin_session(const std::string& their_boot) {
  const std::lock_guard lock(mutex);
  if (their_boot != boot && !boot.empty()) {
    for (auto& [number, call] : calls)
      if (call.tried && !call.answer)
        call.answer = Error(ErrorCode::kAborted, "node " + options.node + " was booted again meanwhile");
  }
  if (their_boot != position.boot) position = {their_boot, 0};
  boot = their_boot;
  // What was received and not handled of this boot will be sent again; what an earlier boot told stays.
  std::erase_if(events, [&](const Queued& queued) {
    if (queued.event.boot != boot) return false;
    event_bytes -= queued.cost;
    return true;
  });
  for (auto& [number, call] : calls) call.sent = false;
  is_up = true;
  ++session_number;
  ack_due = 0;
  log::info("channel.up", {{"node", options.node}, {"boot", boot}});
  changed.notify_all();
}

void HostEnd::State::take_answer(Frame frame) {
  const std::string id = text_or(frame.head, "id");
  if (!id.starts_with(call_prefix + "-")) return;
  std::uint64_t number = 0;
  for (const char c : id.substr(call_prefix.size() + 1)) {
    if (c < '0' || c > '9' || number > (std::uint64_t{1} << 58)) return;
    number = number * 10 + static_cast<std::uint64_t>(c - '0');
  }
  const std::lock_guard lock(mutex);
  const auto found = calls.find(number);
  if (found == calls.end() || found->second.answer || !found->second.tried) return;
  if (flag_or(frame.head, "ok"))
    found->second.answer = Reply{object_or_empty(frame.head, "result"), std::move(frame.blob)};
  else
    found->second.answer = error_from_json(object_or_empty(frame.head, "error"));
  changed.notify_all();
}

Status HostEnd::State::take_event(Frame frame) {
  const std::size_t cost = frame.blob.size() + kParsedFactor * frame.text_size;
  Event event{boot, number_or(frame.head, "seq"), text_or(frame.head, "event"),
              object_or_empty(frame.head, "args"), std::move(frame.blob)};
  if (event.name.empty() || event.name.size() > 64)
    return Error(ErrorCode::kCorrupt, "an event without name");
  const std::lock_guard lock(mutex);
  const std::uint64_t last =
      !events.empty() && events.back().event.boot == boot ? events.back().event.seq : position.after;
  if (event.seq <= last) return ok();
  if (events.size() >= kMaxEvents || event_bytes + cost > kMaxEventBytes)
    return Error(ErrorCode::kExhausted, "the kernel sends events faster than it may");
  event_bytes += cost;
  events.push_back({std::move(event), cost});
  changed.notify_all();
  return ok();
}

Status HostEnd::State::send_timers() {
  const Time now = SteadyClock::now();
  bool open = false;
  {
    const std::lock_guard lock(mutex);
    open = is_up;
  }
  if (!open) {
    if (serial && now >= next_hello) {
      next_hello = now + kHelloAgain;
      if (stream->queued() == 0) return greet();
    }
    return ok();
  }
  if (serial && now >= next_hello) next_hello = now + std::chrono::hours(24);
  if (now < std::max(last_ping, heard) + options.keep_alive) return ok();
  last_ping = now;
  return stream->queued() == 0 ? stream->send({{"t", "ping"}}) : ok();
}

Status HostEnd::State::send_due() {
  const std::lock_guard lock(mutex);
  if (!is_up) return ok();
  if (ack_due > 0) MVM_TRY(stream->send({{"t", "ack"}, {"seq", std::exchange(ack_due, 0)}}));
  for (auto& [number, call] : calls) {
    if (stream->queued() >= kOutputWindow) break;
    if (call.sent || call.answer) continue;
    call.sent = call.tried = true;
    MVM_TRY(stream->send({{"t", "req"},
                          {"id", call_prefix + "-" + std::to_string(number)},
                          {"op", call.op},
                          {"args", call.args}},
                         call.blob, duplicates(call.descriptors)));
  }
  return ok();
}

// ---- event thread ----------------------------------------------------------------------------------------

void HostEnd::State::handle_events() {
  std::unique_lock lock(mutex);
  std::uint64_t notified = 0;
  bool notified_up = false;
  milliseconds pause = kOfferAgain;
  for (;;) {
    changed.wait(lock, [&] {
      return ending || !events.empty() || notified != session_number || notified_up != is_up;
    });
    if (ending) return;
    notify_state(lock, notified, notified_up);
    if (!events.empty() && !ending) handle_one(lock, pause);
  }
}

void HostEnd::State::notify_state(std::unique_lock<std::mutex>& lock, std::uint64_t& notified,
                                  bool& notified_up) {
  if (notified_up && (!is_up || notified != session_number)) {
    notified_up = false;
    const Error reason = why;
    lock.unlock();
    if (callbacks.lost) callbacks.lost(reason);
    lock.lock();
  }
  if (!is_up) notified = session_number;  // came and went unnoticed
  if (!is_up || notified_up) return;
  notified = session_number;
  notified_up = true;
  const std::string current = boot;
  lock.unlock();
  if (callbacks.up) callbacks.up(current);
  lock.lock();
}

void HostEnd::State::handle_one(std::unique_lock<std::mutex>& lock, milliseconds& pause) {
  const Event event = events.front().event;
  const bool known = event.boot == position.boot && event.seq <= position.after;
  Status handled = ok();
  if (!known) {
    lock.unlock();
    handled = callbacks.event(event);
    lock.lock();
  }
  if (!handled) {
    log::warning("channel.event-refused",
                 {{"node", options.node}, {"event", event.name}, {"reason", handled.error().describe()}});
    changed.wait_for(lock, pause, [&] { return ending; });
    pause = std::min(pause * 2, kOfferAgainMost);
    return;
  }
  pause = kOfferAgain;
  if (event.boot == position.boot) {
    position.after = std::max(position.after, event.seq);
    ack_due = position.after;
  }
  // A new session may have emptied the queue meanwhile.
  if (!events.empty() && events.front().event.boot == event.boot && events.front().event.seq == event.seq) {
    event_bytes -= events.front().cost;
    events.pop_front();
  }
  wake.set();
}

// ---- public ----------------------------------------------------------------------------------------------

HostEnd::HostEnd(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<HostEnd>> HostEnd::start(Options options, Callbacks callbacks) {
  MVM_ASSERT(callbacks.event);
  auto state = std::make_unique<State>(std::move(options), std::move(callbacks));
  state->serial = state->options.way == Way::kConnect;
  if (state->options.way == Way::kListen) {
    MVM_ASSIGN(state->listener, listen_at(state->options.path, state->options.peer_user));
  } else if (state->options.way == Way::kConnect) {
    MVM_ASSIGN([[maybe_unused]] const sockaddr_un checked, address_of(state->options.path));
  }
  auto end = std::unique_ptr<HostEnd>(new HostEnd(std::move(state)));
  end->state_->io_thread = std::thread([s = end->state_.get()] { s->io(); });
  end->state_->event_thread = std::thread([s = end->state_.get()] { s->handle_events(); });
  return end;
}

HostEnd::~HostEnd() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
    state_->changed.notify_all();
  }
  state_->wake.set();
  if (state_->io_thread.joinable()) state_->io_thread.join();
  if (state_->event_thread.joinable()) state_->event_thread.join();
  if (state_->listener) ::unlink(state_->options.path.c_str());
}

Result<Reply> HostEnd::call(const std::string& op, const nlohmann::json& args, milliseconds timeout,
                            std::string blob, const std::vector<int>& descriptors) {
  if (blob.size() > kMaxFrameBlob || descriptors.size() > kMaxFrameDescriptors ||
      args.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).size() > kMaxFrameText - 1024)
    return Error(ErrorCode::kInvalid, op + ": more than one frame can carry");
  if (!descriptors.empty() && state_->serial)
    return Error(ErrorCode::kUnsupported, op + ": descriptors do not travel over a serial line");
  Pending call{op, args.is_object() ? args : nlohmann::json::object(), std::move(blob), {}, false, false, {}};
  for (const int fd : descriptors) {
    call.descriptors.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!call.descriptors.back()) return Error::from_errno(errno, op + ": duplicate a descriptor");
  }
  std::unique_lock lock(state_->mutex);
  if (state_->calls.size() >= state_->options.max_calls)
    return Error(ErrorCode::kExhausted, op + ": too many calls wait for node " + state_->options.node);
  const std::uint64_t number = state_->next_call++;
  Pending& mine = state_->calls.emplace(number, std::move(call)).first->second;
  state_->wake.set();
  state_->changed.wait_for(lock, timeout, [&] {
    return mine.answer || state_->ending || state_->given_up || (state_->gone && !state_->is_up);
  });
  Result<Reply> result = Error(ErrorCode::kCancelled, op + ": the channel is being closed");
  if (mine.answer)
    result = std::move(*mine.answer);
  else if (state_->given_up)
    result = *state_->given_up;
  else if (state_->gone)
    result =
        Error(ErrorCode::kUnavailable, op + ": the channel to node " + state_->options.node + " is lost");
  else if (!state_->ending && state_->is_up)
    result = Error(ErrorCode::kTimeout, op + ": node " + state_->options.node + " did not answer within " +
                                            std::to_string(timeout.count()) + " ms");
  else if (!state_->ending)
    result = Error(ErrorCode::kTimeout, op + ": node " + state_->options.node + " is not connected (" +
                                            state_->why.message() + ")");
  state_->calls.erase(number);
  return result;
}

void HostEnd::give_up(Error why) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->given_up) state_->given_up = std::move(why);
  state_->changed.notify_all();
}

bool HostEnd::up() const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_up;
}

Result<std::string> HostEnd::wait_up(milliseconds timeout) const {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait_for(lock, timeout, [&] { return state_->is_up || state_->ending || state_->gone; });
  if (state_->is_up) return state_->boot;
  return Error(state_->gone ? ErrorCode::kUnavailable : ErrorCode::kTimeout,
               "node " + state_->options.node + " is not connected: " + state_->why.message());
}

Position HostEnd::position() const {
  const std::lock_guard lock(state_->mutex);
  return state_->position;
}

SteadyClock::time_point HostEnd::last_heard() const {
  const std::lock_guard lock(state_->mutex);
  return state_->heard;
}

}  // namespace mvm::channel
