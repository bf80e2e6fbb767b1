#include <fcntl.h>
#include <mqueue.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>

#include "message_stream.h"
#include "mvm/base/file.h"
#include "mvm/queuevm/mq/mq_streams.h"

namespace mvm::queuevm::mq {
namespace {

constexpr std::string_view kWords = "MVMPMQ1\n";
constexpr long kMostMessages = 64;
constexpr long kLargest = 64 << 10;
constexpr int kTries = 100;  // for a name that another process of the lab uses at the same moment

struct Shape {
  long messages = 10;  // what Linux allows if nobody changed it
  long size = 8192;
};

long limit(const char* name, long fallback, long most) {
  const auto text = read_file(std::string("/proc/sys/fs/mqueue/") + name, 64);
  long value = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc() ||
      value < 1)
    return fallback;
  return std::min(value, most);
}

Shape allowed() {
  const Shape usual;
  return {limit("msg_max", usual.messages, kMostMessages), limit("msgsize_max", usual.size, kLargest)};
}

Error refused(int problem) {
  switch (problem) {
    case ENOSYS:
      return {ErrorCode::kUnsupported, "posix-mq: this system has no POSIX message queues"};
    case EMFILE:
      return {
          ErrorCode::kExhausted,
          "posix-mq: no memory for another POSIX message queue: the user's RLIMIT_MSGQUEUE (ulimit -q), or "
          "the process's descriptors, are used up"};
    case ENOSPC:
      return {
          ErrorCode::kExhausted,
          "posix-mq: the system has as many POSIX message queues as /proc/sys/fs/mqueue/queues_max allows"};
    default:
      return Error::from_errno(problem, "posix-mq: making a POSIX message queue");
  }
}

/// A queue whose name is gone already: it lives as long as somebody holds it.
Result<UniqueFd> make_queue(const std::string& name, const Shape& shape) {
  const std::string path = "/" + name;
  mq_attr attributes{};
  attributes.mq_maxmsg = shape.messages;
  attributes.mq_msgsize = shape.size;
  for (int i = 0; i < kTries; ++i) {
    ::mq_unlink(path.c_str());  // who held it was killed between these lines
    UniqueFd queue(
        ::mq_open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0600, &attributes));
    if (queue) {
      ::mq_unlink(path.c_str());
      return queue;
    }
    if (errno != EEXIST) return refused(errno);
  }
  return refused(EEXIST);
}

/// One queue each way; their descriptors can be polled.
class PosixStream final : public MessageStream {
 public:
  PosixStream(UniqueFd socket, bool dialled, std::string name)
      : MessageStream(std::move(socket), dialled), name_(std::move(name)) {}

 protected:
  Status offer() override {
    const Shape shape = allowed();
    MVM_ASSIGN(out_, make_queue(name_, shape));
    MVM_ASSIGN(in_, make_queue(name_, shape));
    largest_ = static_cast<std::size_t>(shape.size);
    MVM_TRY(send_greeting(std::string(kWords), std::array{out_.get(), in_.get()}));
    return watch_both();
  }

  Result<bool> accept() override {
    MVM_ASSIGN(auto greeting, receive_greeting(kWords.size(), 2));
    if (!greeting) return false;
    if (greeting->text != kWords) return Error(ErrorCode::kRefused, "a peer offers other message queues");
    in_ = std::move(greeting->descriptors[0]);
    out_ = std::move(greeting->descriptors[1]);
    std::array<mq_attr, 2> shapes{};
    if (::mq_getattr(in_.get(), &shapes[0]) != 0 || ::mq_getattr(out_.get(), &shapes[1]) != 0 ||
        shapes[0].mq_msgsize != shapes[1].mq_msgsize || shapes[0].mq_msgsize > kLargest)
      return Error(ErrorCode::kRefused, "a peer offers what are no message queues");
    largest_ = static_cast<std::size_t>(shapes[0].mq_msgsize);
    MVM_TRY(watch_both());
    return true;
  }

  [[nodiscard]] std::size_t largest_message() const override { return largest_; }

  // With a time-out that has passed: the peer, who shares the description, could make it a blocking one.
  Result<bool> send(std::span<const std::byte> message) override {
    const timespec past{0, 0};
    for (;;) {
      if (::mq_timedsend(out_.get(), reinterpret_cast<const char*>(message.data()), message.size(), 0,
                         &past) == 0)
        return true;
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == ETIMEDOUT) return false;
      return Error::from_errno(errno, "sending to a message queue");
    }
  }

  Result<std::optional<std::size_t>> receive(std::span<std::byte> room) override {
    const timespec past{0, 0};
    for (;;) {
      const ssize_t got =
          ::mq_timedreceive(in_.get(), reinterpret_cast<char*>(room.data()), room.size(), nullptr, &past);
      if (got >= 0) return std::optional(static_cast<std::size_t>(got));
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == ETIMEDOUT) return std::optional<std::size_t>();
      return Error::from_errno(errno, "receiving from a message queue");
    }
  }

  void set_blocked(bool blocked) override {
    if (blocked == blocked_) return;
    blocked_ = blocked;
    static_cast<void>(watch(out_.get(), blocked ? static_cast<std::uint32_t>(EPOLLOUT) : 0));
  }

 private:
  Status watch_both() {
    MVM_TRY(watch(in_.get(), EPOLLIN));
    return watch(out_.get(), 0);
  }

  const std::string name_;
  UniqueFd in_;
  UniqueFd out_;
  std::size_t largest_ = 0;
  bool blocked_ = false;
};

}  // namespace

Result<StreamFactory> make_posix_streams(const std::string& secret) {
  const std::string name = name_of(secret);
  const Shape shape = allowed();
  MVM_ASSIGN(const UniqueFd there, make_queue(name, shape));
  MVM_ASSIGN(const UniqueFd back, make_queue(name, shape));
  return StreamFactory([name](UniqueFd socket, bool dialled) {
    return std::make_unique<PosixStream>(std::move(socket), dialled, name);
  });
}

void sweep_posix(const std::string& name) { ::mq_unlink(("/" + name).c_str()); }

}  // namespace mvm::queuevm::mq
