#include "mvm/base/frame_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <system_error>

#include "mvm/base/assert.h"

namespace mvm {
namespace {

constexpr std::size_t kRead = 65536;

using Control = std::array<char, CMSG_SPACE(sizeof(int) * kMaxFrameDescriptors)>;

ssize_t send_with(int fd, std::string_view bytes, const std::vector<UniqueFd>& descriptors) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) Control control{};
  const std::size_t size = sizeof(int) * descriptors.size();
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(size);
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    const int fd_number = descriptors[i].get();
    std::memcpy(CMSG_DATA(header) + i * sizeof(int), &fd_number, sizeof(int));
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void take_descriptors(msghdr& message, std::vector<UniqueFd>& into) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      into.emplace_back(passed);
    }
  }
}

}  // namespace

FrameStream::FrameStream(UniqueFd fd, Options options)
    : fd_(std::move(fd)), options_(options), decoder_(options.serial), piece_(kRead, '\0') {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags >= 0) (void)::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK);
}

short FrameStream::events() const { return static_cast<short>(out_.empty() ? POLLIN : POLLIN | POLLOUT); }

Status FrameStream::send(nlohmann::json head, std::string_view blob, std::vector<UniqueFd> descriptors) {
  MVM_ASSERT(descriptors.size() <= kMaxFrameDescriptors);
  if (!descriptors.empty()) head["fds"] = descriptors.size();
  if (options_.serial && !blob.empty()) head["crc"] = frame_checksum(blob);
  out_.push_back({encode_frame(head, blob), 0, std::move(descriptors)});
  queued_ += out_.back().bytes.size();
  return flush();
}

Status FrameStream::send_raw(std::string bytes) {
  queued_ += bytes.size();
  out_.push_back({std::move(bytes), 0, {}});
  return flush();
}

Result<std::size_t> FrameStream::write_some(Outgoing& item) {
  const std::string_view rest = std::string_view(item.bytes).substr(item.done);
  for (;;) {
    ssize_t put = 0;
    if (!item.descriptors.empty()) {
      put = send_with(fd_.get(), rest, item.descriptors);
    } else {
      put = ::send(fd_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (put < 0 && errno == ENOTSOCK) put = ::write(fd_.get(), rest.data(), rest.size());
    }
    if (put >= 0) {
      if (put > 0) item.descriptors.clear();
      return static_cast<std::size_t>(put);
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    return Error(ErrorCode::kUnavailable, "write to the peer: " + std::generic_category().message(errno));
  }
}

Status FrameStream::flush() {
  while (!out_.empty()) {
    Outgoing& item = out_.front();
    MVM_ASSIGN(const std::size_t put, write_some(item));
    if (put == 0) return ok();
    item.done += put;
    queued_ -= put;
    if (item.done == item.bytes.size()) out_.pop_front();
  }
  return ok();
}

Status FrameStream::receive() {
  iovec part{piece_.data(), piece_.size()};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (options_.takes_descriptors) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
  }
  ssize_t got = 0;
  do {
    got = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && errno == ENOTSOCK) {
      message.msg_controllen = 0;
      got = ::read(fd_.get(), piece_.data(), piece_.size());
    }
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return ok();
  if (got < 0)
    return Error(ErrorCode::kUnavailable, "read from the peer: " + std::generic_category().message(errno));
  if (got == 0) return Error(ErrorCode::kUnavailable, "the peer closed the stream");
  if (options_.takes_descriptors) take_descriptors(message, pending_);
  if (pending_.size() > 4 * kMaxFrameDescriptors)
    return Error(ErrorCode::kCorrupt, "too many descriptors without a frame");
  decoder_.feed(std::string_view(piece_).substr(0, static_cast<std::size_t>(got)));
  return ok();
}

Result<std::optional<Frame>> FrameStream::next() {
  MVM_ASSIGN(std::optional<Frame> frame, decoder_.next());
  if (!frame) return frame;
  const auto mine = static_cast<std::ptrdiff_t>(std::min(frame_descriptors(frame->head), pending_.size()));
  std::move(pending_.begin(), pending_.begin() + mine, std::back_inserter(frame->descriptors));
  pending_.erase(pending_.begin(), pending_.begin() + mine);
  return frame;
}

}  // namespace mvm
