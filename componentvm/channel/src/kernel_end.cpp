#include "mvm/channel/kernel_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "journal.h"
#include "line.h"
#include "mvm/base/assert.h"
#include "mvm/base/file.h"
#include "mvm/base/frame_stream.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::channel {
namespace {

namespace fs = std::filesystem;
using Time = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

constexpr milliseconds kHelloAgain{1000};  // serial lines lose what is sent while nobody listens

Result<UniqueFd> connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error(ErrorCode::kInvalid, "socket path of more than 107 bytes: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno(errno, "socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Error::from_errno(errno, "connect to " + path);
  return fd;
}

/// /dev/virtio-ports/NAME where udev made it, else the device whose name sysfs tells.
Result<fs::path> find_port(const std::string& name) {
  std::error_code error;
  if (fs::exists("/dev/virtio-ports/" + name, error)) return fs::path("/dev/virtio-ports/" + name);
  for (fs::directory_iterator entry("/sys/class/virtio-ports", error), end; !error && entry != end;
       entry.increment(error)) {
    auto text = read_file(entry->path() / "name", 4096);
    if (text && text->substr(0, text->find('\n')) == name) return fs::path("/dev") / entry->path().filename();
  }
  return Error(ErrorCode::kUnavailable, "no virtio port is called " + name);
}

Result<UniqueFd> open_port(const std::string& name) {
  MVM_ASSIGN(const fs::path path, find_port(name));
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (!fd) return Error::from_errno(errno, "open " + path.string());
  return fd;
}

std::size_t text_size(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).size();
}

/// Answers given, for requests that are sent again. Bounded in number and bytes.
class Answers {
 public:
  struct Answer {
    nlohmann::json head;
    std::string blob;
  };
  Answers(std::size_t count, std::size_t bytes) : max_count_(count), max_bytes_(bytes) {}

  [[nodiscard]] const Answer* find(const std::string& id) const {
    const auto found = index_.find(id);
    return found == index_.end() ? nullptr : &found->second->answer;
  }
  void add(const std::string& id, const Answer& answer, std::size_t head_size) {
    const std::size_t size = id.size() + answer.blob.size() + head_size;
    if (size > max_bytes_ / 16) return;  // large answers are made anew: every operation may be repeated
    items_.push_back({id, answer, size});
    index_[id] = std::prev(items_.end());
    bytes_ += size;
    while (items_.size() > max_count_ || bytes_ > max_bytes_) {
      bytes_ -= items_.front().size;
      index_.erase(items_.front().id);
      items_.pop_front();
    }
  }

 private:
  struct Item {
    std::string id;
    Answer answer;
    std::size_t size;
  };
  std::size_t max_count_, max_bytes_, bytes_ = 0;
  std::list<Item> items_;
  std::unordered_map<std::string, std::list<Item>::iterator> index_;
};

}  // namespace

struct KernelEnd::State {
  Options options;
  Callbacks callbacks;
  bool serial = false;
  std::vector<PendingEvent> recovered;
  Wake wake;
  std::thread thread;

  mutable std::mutex mutex;
  std::optional<Journal> journal;
  Answers answers;
  std::unordered_set<std::string> running;  // requests that were handed out and not answered
  std::vector<Answers::Answer> outbox;      // answers to send; cleared with the session
  bool ending = false;
  bool serving = false;
  std::uint64_t sent = 0;   // last event sent in this session
  std::uint64_t acked = 0;  // last event the host acknowledged in this boot

  // Used by the thread alone.
  std::string session;
  Time next_hello{};
  Time last_heard{};
  Time last_ping{};

  State(Options o, Callbacks c)
      : options(std::move(o)),
        callbacks(std::move(c)),
        answers(options.remembered, options.remembered_bytes) {}

  void run();
  void run_alone();
  Result<UniqueFd> connect() const;
  bool pause(milliseconds time);
  Status serve(FrameStream& stream);
  Status take(FrameStream& stream, Frame frame);
  Status take_hello(FrameStream& stream, const nlohmann::json& head);
  Status take_request(FrameStream& stream, Frame frame);
  void acknowledge(std::uint64_t seq);
  Status send_answers(FrameStream& stream);
  Status send_events(FrameStream& stream);
  Status send_hello(FrameStream& stream, const std::string& answers_session);
  [[nodiscard]] milliseconds next_timer() const;
  Status timers(FrameStream& stream);
  void end_session();
};

Result<UniqueFd> KernelEnd::State::connect() const {
  const std::string& address = options.address;
  const std::string where = address.substr(address.find(':') + 1);
  return address.starts_with("virtio:") ? open_port(where) : connect_unix(where);
}

/// False where the object ends.
bool KernelEnd::State::pause(milliseconds time) {
  const Time until = std::chrono::steady_clock::now() + time;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now()).count();
    {
      const std::lock_guard lock(mutex);
      if (ending) return false;
    }
    if (left <= 0) return true;
    pollfd item{wake.fd(), POLLIN, 0};
    if (::poll(&item, 1, static_cast<int>(left)) > 0) wake.clear();
  }
}

void KernelEnd::State::run() {
  milliseconds wait = options.redial;
  bool told = false;
  for (;;) {
    auto fd = connect();
    if (fd) {
      FrameStream stream(std::move(*fd), {.serial = serial, .takes_descriptors = !serial});
      const Time begin = std::chrono::steady_clock::now();
      const Status end = serve(stream);
      end_session();
      log::info("channel.lost", {{"reason", end ? "ended" : end.error().message()}});
      if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(1)) wait = options.redial;
      told = false;
    } else if (!std::exchange(told, true)) {
      log::info("channel.waiting", {{"reason", fd.error().message()}});
    }
    if (!pause(wait)) return;
    wait = std::min(wait * 2, serial ? milliseconds(200) : options.redial * 40);
  }
}

/// Nobody asks, and the events are this program's own.
void KernelEnd::State::run_alone() {
  for (;;) {
    JournalEntry entry;
    {
      const std::lock_guard lock(mutex);
      if (ending) return;
      if (const JournalEntry* next = journal->after(sent)) entry = *next;
    }
    if (entry.meta.seq == 0) {
      pollfd item{wake.fd(), POLLIN, 0};
      if (::poll(&item, 1, -1) > 0) wake.clear();
      continue;
    }
    sent = entry.meta.seq;
    if (entry.meta.spool) entry.blob = callbacks.read_spool(*entry.meta.spool).value_or("");
    if (callbacks.alone)
      callbacks.alone({.boot = options.boot,
                       .seq = sent,
                       .name = entry.meta.name,
                       .args = std::move(entry.args),
                       .blob = std::move(entry.blob)});
    acknowledge(sent);
  }
}

void KernelEnd::State::end_session() {
  session.clear();
  const std::lock_guard lock(mutex);
  serving = false;
  outbox.clear();
}

Status KernelEnd::State::send_hello(FrameStream& stream, const std::string& answers_session) {
  nlohmann::json head{
      {"t", "hello"}, {"protocol", kProtocol}, {"node", options.node}, {"boot", options.boot}};
  if (!answers_session.empty()) head["for"] = answers_session;
  next_hello = std::chrono::steady_clock::now() + kHelloAgain;
  return stream.send(std::move(head));
}

Status KernelEnd::State::serve(FrameStream& stream) {
  last_heard = last_ping = std::chrono::steady_clock::now();
  if (serial) MVM_TRY(stream.send_raw(std::string(kSerialPadding, '\0')));
  MVM_TRY(send_hello(stream, ""));
  for (;;) {
    std::array<pollfd, 2> items{{{stream.fd(), stream.events(), 0}, {wake.fd(), POLLIN, 0}}};
    const int ready = ::poll(items.data(), items.size(), static_cast<int>(next_timer().count()));
    if (ready < 0 && errno != EINTR) return Error::from_errno(errno, "poll");
    if ((items[1].revents & POLLIN) != 0) wake.clear();
    {
      const std::lock_guard lock(mutex);
      if (ending) return ok();
    }
    if ((items[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      MVM_TRY(stream.receive());
      for (;;) {
        MVM_ASSIGN(std::optional<Frame> frame, stream.next());
        if (!frame) break;
        last_heard = std::chrono::steady_clock::now();
        MVM_TRY(take(stream, std::move(*frame)));
      }
    }
    MVM_TRY(stream.flush());
    MVM_TRY(timers(stream));
    MVM_TRY(send_answers(stream));
    MVM_TRY(send_events(stream));
  }
}

milliseconds KernelEnd::State::next_timer() const {
  const Time now = std::chrono::steady_clock::now();
  Time next = std::max(last_heard, last_ping) + options.keep_alive;
  if (session.empty() && serial) next = std::min(next, next_hello);
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(next - now));
}

Status KernelEnd::State::timers(FrameStream& stream) {
  const Time now = std::chrono::steady_clock::now();
  if (session.empty()) {
    if (serial && now >= next_hello && stream.queued() == 0) return send_hello(stream, "");
    if (serial && now >= next_hello) next_hello = now + kHelloAgain;
  }
  if (now < std::max(last_heard, last_ping) + options.keep_alive) return ok();
  last_ping = now;
  if (session.empty() || stream.queued() > 0) return ok();
  return stream.send({{"t", "ping"}});
}

Status KernelEnd::State::take(FrameStream& stream, Frame frame) {
  const std::string type = text_or(frame.head, "t");
  if (type == "hello") return take_hello(stream, frame.head);
  if (session.empty()) return ok();  // left over from a former host on a serial line
  if (type == "req") return take_request(stream, std::move(frame));
  if (type == "ack") acknowledge(number_or(frame.head, "seq"));
  if (type == "ping") return stream.send({{"t", "pong"}});
  return ok();
}

Status KernelEnd::State::take_hello(FrameStream& stream, const nlohmann::json& head) {
  if (number_or(head, "protocol") != kProtocol) {
    (void)stream.send({{"t", "refuse"}, {"speaks", nlohmann::json::array({kProtocol})}});
    return serial ? ok()
                  : Status(Error(ErrorCode::kUnsupported, "the host speaks another version of the channel"));
  }
  const std::string theirs = text_or(head, "session");
  if (theirs.empty() || theirs.size() > 64) return Error(ErrorCode::kCorrupt, "a hello without session");
  if (theirs == session) return send_hello(stream, session);
  session = theirs;
  const std::uint64_t after = text_or(head, "boot") == options.boot ? number_or(head, "after") : 0;
  if (after > 0) acknowledge(after);
  {
    const std::lock_guard lock(mutex);
    serving = true;
    sent = after;
    outbox.clear();
  }
  log::info("channel.up", {{"after", after}});
  return send_hello(stream, session);
}

Status KernelEnd::State::take_request(FrameStream& stream, Frame frame) {
  Request request;
  request.id = text_or(frame.head, "id");
  request.op = text_or(frame.head, "op");
  request.args = object_or_empty(frame.head, "args");
  request.blob = std::move(frame.blob);
  request.descriptors = std::move(frame.descriptors);
  if (request.id.empty() || request.id.size() > 128)
    return Error(ErrorCode::kCorrupt, "a request without id");
  {
    const std::lock_guard lock(mutex);
    if (const Answers::Answer* known = answers.find(request.id)) return stream.send(known->head, known->blob);
    if (!running.insert(request.id).second) return ok();  // its answer will come
  }
  callbacks.request(std::move(request));
  return ok();
}

void KernelEnd::State::acknowledge(std::uint64_t seq) {
  std::vector<PendingEvent> done;
  {
    const std::lock_guard lock(mutex);
    done = journal->up_to(seq);
  }
  if (!done.empty() && callbacks.acknowledged) callbacks.acknowledged(done);
  const std::lock_guard lock(mutex);
  acked = std::max(acked, seq);
  journal->acknowledge(seq);
}

Status KernelEnd::State::send_answers(FrameStream& stream) {
  std::vector<Answers::Answer> ready;
  {
    const std::lock_guard lock(mutex);
    if (!serving) return ok();
    ready.swap(outbox);
  }
  for (Answers::Answer& answer : ready) MVM_TRY(stream.send(std::move(answer.head), answer.blob));
  return ok();
}

Status KernelEnd::State::send_events(FrameStream& stream) {
  while (stream.queued() < kOutputWindow) {
    JournalEntry entry;
    {
      const std::lock_guard lock(mutex);
      if (!serving) return ok();
      const JournalEntry* next = journal->after(sent);
      if (next == nullptr) return ok();
      std::size_t count = 0;
      std::size_t bytes = 0;
      for (const JournalEntry& earlier : journal->entries()) {
        if (earlier.meta.seq >= next->meta.seq) break;
        ++count;
        bytes += earlier.meta.spool ? earlier.meta.spool->length : earlier.blob.size();
      }
      if (count > 0 && (count >= kEventWindow || bytes >= kEventWindowBytes)) return ok();
      entry = *next;
      sent = next->meta.seq;
    }
    if (entry.meta.spool) {
      auto bytes = callbacks.read_spool ? callbacks.read_spool(*entry.meta.spool) : std::nullopt;
      if (!bytes) continue;  // its attempt was cleaned meanwhile
      entry.blob = std::move(*bytes);
    }
    MVM_TRY(stream.send(
        {{"t", "ev"}, {"seq", entry.meta.seq}, {"event", entry.meta.name}, {"args", std::move(entry.args)}},
        entry.blob));
  }
  return ok();
}

KernelEnd::KernelEnd(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<KernelEnd>> KernelEnd::open(Options options, Callbacks callbacks) {
  const bool serial = options.address.starts_with("virtio:") || options.address.starts_with("line:");
  if (!options.address.empty() && !serial && !options.address.starts_with("unix:"))
    return Error(ErrorCode::kInvalid, "channel address: found \"" + options.address +
                                          "\", expected unix:PATH, virtio:NAME or line:PATH");
  MVM_ASSIGN(Journal journal, Journal::open(options.journal, options.boot));
  auto state = std::make_unique<State>(std::move(options), std::move(callbacks));
  state->serial = serial;
  for (const JournalEntry& entry : journal.entries()) state->recovered.push_back(entry.meta);
  state->journal.emplace(std::move(journal));
  return std::unique_ptr<KernelEnd>(new KernelEnd(std::move(state)));
}

KernelEnd::~KernelEnd() { stop(); }

void KernelEnd::stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
  }
  state_->wake.set();
  if (state_->thread.joinable()) state_->thread.join();
}

const std::vector<PendingEvent>& KernelEnd::recovered() const { return state_->recovered; }

Status KernelEnd::start() {
  MVM_ASSERT(!state_->thread.joinable());
  state_->thread = std::thread(
      [state = state_.get()] { state->options.address.empty() ? state->run_alone() : state->run(); });
  return ok();
}

void KernelEnd::reply(const std::string& id, Result<Reply> reply) {
  Answers::Answer answer;
  answer.head = {{"t", "rep"}, {"id", id}};
  if (reply && reply->blob.size() <= kMaxFrameBlob) {
    answer.head["ok"] = true;
    answer.head["result"] = std::move(reply->result);
    answer.blob = std::move(reply->blob);
  } else {
    const Error error = reply ? Error(ErrorCode::kExhausted, "the answer is too large") : reply.error();
    answer.head["ok"] = false;
    answer.head["error"] = error_to_json(error);
  }
  const std::size_t size = text_size(answer.head);
  if (size > kMaxFrameText) {
    answer.blob.clear();
    answer.head.erase("result");
    answer.head["ok"] = false;
    answer.head["error"] = error_to_json(Error(ErrorCode::kExhausted, "the answer is too large"));
  }
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->running.erase(id) == 0) return;
    state_->answers.add(id, answer, size);
    if (state_->serving) state_->outbox.push_back(std::move(answer));
  }
  state_->wake.set();
}

Result<std::uint64_t> KernelEnd::tell(NewEvent event) {
  if (event.blob.size() > kPiece)
    return Error(ErrorCode::kInvalid, "an event carries at most " + std::to_string(kPiece) + " bytes");
  if (text_size(event.args) > kMaxFrameText / 2)
    return Error(ErrorCode::kInvalid, "the fields of event " + event.name + " are too large");
  Result<std::uint64_t> seq = std::uint64_t{0};
  {
    const std::lock_guard lock(state_->mutex);
    seq = state_->journal->append(std::move(event));
  }
  state_->wake.set();
  return seq;
}

void KernelEnd::withdraw(const std::string& group) {
  const std::lock_guard lock(state_->mutex);
  state_->journal->withdraw(group);
}

std::size_t KernelEnd::pending() const {
  const std::lock_guard lock(state_->mutex);
  return state_->journal->entries().size();
}

bool KernelEnd::up() const {
  const std::lock_guard lock(state_->mutex);
  return state_->serving;
}

}  // namespace mvm::channel
