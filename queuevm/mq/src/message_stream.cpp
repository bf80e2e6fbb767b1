#include "message_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "mvm/base/digest.h"
#include "mvm/queuevm/mq/mq_streams.h"

namespace mvm::queuevm::mq {
namespace {

constexpr std::size_t kMostDescriptors = 2;
constexpr int kMostLooks = 16;  // at bells in one go

Error closed() { return {ErrorCode::kUnavailable, "the peer closed the connection"}; }

/// Queues are shared with our own user's processes alone.
Status check_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid == 0)
    return Error(ErrorCode::kRefused, "message queues need a UNIX socket between the ends");
  if (peer.uid != ::geteuid())
    return Error(ErrorCode::kRefused,
                 "a process of user " + std::to_string(peer.uid) + " offers message queues");
  return ok();
}

/// Owns the descriptors that came with a message.
std::vector<UniqueFd> descriptors_of(msghdr& message) {
  std::vector<UniqueFd> all;
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
    if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
      all.emplace_back(fd);
    }
  }
  return all;
}

struct Control {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int))> bytes{};
};

}  // namespace

std::string name_of(const std::string& secret) {
  return "mvm-" + sha256_hex("MVM message queues 1 " + secret).substr(0, 32);
}

void sweep(const std::string& secret) {
  sweep_posix(name_of(secret));
  sweep_boost(name_of(secret));
}

MessageStream::MessageStream(UniqueFd socket, bool dialled)
    : socket_(std::move(socket)), events_(::epoll_create1(EPOLL_CLOEXEC)), dialled_(dialled) {}

Result<std::size_t> MessageStream::read(std::span<std::byte> buffer) {
  MVM_ASSIGN(const bool joined, join());
  if (!joined) return std::size_t{0};
  // Bells first: what they announce is in the queue then, and what comes later rings again.
  MVM_ASSIGN(const bool open, listen());
  std::size_t total = 0;
  while (total < buffer.size()) {
    const auto room = buffer.subspan(total);
    if (rest_at_ == rest_.size() && room.size() >= largest_message()) {
      MVM_ASSIGN(const auto got, receive_checked(room));
      if (!got) break;
      total += *got;
      continue;
    }
    if (rest_at_ == rest_.size()) {
      rest_.resize(largest_message());
      rest_at_ = rest_.size();
      MVM_ASSIGN(const auto got, receive_checked(rest_));
      if (!got) break;
      rest_.resize(*got);
      rest_at_ = 0;
    }
    const std::size_t piece = std::min(room.size(), rest_.size() - rest_at_);
    std::memcpy(room.data(), rest_.data() + rest_at_, piece);
    rest_at_ += piece;
    total += piece;
  }
  if (total == 0 && !open && !buffer.empty()) return closed();
  return total;
}

Result<std::optional<std::size_t>> MessageStream::receive_checked(std::span<std::byte> room) {
  MVM_ASSIGN(const auto got, receive(room));
  if (got && *got == 0) return Error(ErrorCode::kCorrupt, "a peer sends empty messages");
  return got;
}

Result<std::size_t> MessageStream::write(std::span<const std::byte> bytes) {
  MVM_ASSIGN(const bool joined, join());
  if (!joined) return std::size_t{0};
  std::size_t total = 0;
  bool room = true;
  while (total < bytes.size() && room) {
    const auto message = bytes.subspan(total, std::min(bytes.size() - total, largest_message()));
    MVM_ASSIGN(room, send(message));
    if (room) total += message.size();
  }
  set_blocked(!room);
  return total;
}

Result<bool> MessageStream::join() {
  if (joined_) return true;
  if (!events_) return Error(ErrorCode::kExhausted, "no epoll set to be had");
  if (dialled_) {
    MVM_TRY(offer());
  } else {
    MVM_ASSIGN(const bool there, accept());
    if (!there) return false;
  }
  MVM_TRY(watch(socket_.get(), EPOLLIN));
  joined_ = true;
  return true;
}

/// Takes the bells that rang. False: the peer is gone.
Result<bool> MessageStream::listen() {
  std::array<std::byte, 64> bells{};
  for (int i = 0; i < kMostLooks; ++i) {
    const ssize_t got = ::recv(socket_.get(), bells.data(), bells.size(), MSG_DONTWAIT);
    if (got > 0) heard();
    if (got > 0 || (got < 0 && errno == EINTR)) continue;
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }
  return true;
}

/// Where there is no room for another bell, enough of them are still to be heard.
void MessageStream::ring() const {
  const char bell = '!';
  static_cast<void>(::send(socket_.get(), &bell, 1, MSG_DONTWAIT | MSG_NOSIGNAL));
}

Status MessageStream::watch(int descriptor, std::uint32_t events) const {
  epoll_event event{};
  event.events = events;
  if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, descriptor, &event) == 0) return ok();
  if (errno != EEXIST || ::epoll_ctl(events_.get(), EPOLL_CTL_MOD, descriptor, &event) != 0)
    return Error::from_errno(errno, "watching a message queue");
  return ok();
}

Status MessageStream::send_greeting(const std::string& text, std::span<const int> descriptors) const {
  MVM_TRY(check_user(socket_.get()));
  std::string words = text;
  iovec part{words.data(), words.size()};
  Control control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(head), descriptors.data(), descriptors.size_bytes());
  }
  const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(words.size())) return closed();
  return ok();
}

Result<std::optional<MessageStream::Greeting>> MessageStream::receive_greeting(
    std::size_t size, std::size_t descriptors) const {
  Greeting greeting;
  greeting.text.resize(size);
  iovec part{greeting.text.data(), size};
  Control control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    return std::optional<Greeting>();
  if (got > 0) greeting.descriptors = descriptors_of(message);
  if (got == 0) return closed();
  MVM_TRY(check_user(socket_.get()));
  if (got != static_cast<ssize_t>(size) || greeting.descriptors.size() != descriptors)
    return Error(ErrorCode::kRefused, "a peer does not introduce its message queues");
  return std::optional<Greeting>(std::move(greeting));
}

}  // namespace mvm::queuevm::mq
