#include "mvm/queuevm/attach_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "wire.h"

namespace mvm::queuevm {
namespace {

Status send_packet(int socket, std::span<const unsigned char> bytes, std::span<const int> fds) {
  std::vector<char> control(CMSG_SPACE(sizeof(int) * std::max<std::size_t>(fds.size(), 1)));
  iovec piece{const_cast<unsigned char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(head), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return ok();
  if (errno == EPIPE || errno == ECONNRESET) return Error(ErrorCode::kUnavailable, "the process is gone");
  if (errno == EAGAIN) return Error(ErrorCode::kCorrupt, "the process asks and does not listen");
  return Error::from_errno(errno, "answering a process's attach");
}

void fill_head(unsigned char* reply, std::uint16_t status, std::uint64_t generation) {
  wire::store32(reply, wire::kPacketMagic);
  wire::store16(reply + 4, wire::kPacketVersion);
  wire::store16(reply + 6, status);
  wire::store64(reply + 8, generation);
}

}  // namespace

Result<std::pair<UniqueFd, UniqueFd>> AttachServer::make_sockets() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return Error::from_errno(errno, "making an attach socket");
  }
  return std::pair{UniqueFd(pair[0]), UniqueFd(pair[1])};
}

AttachServer::AttachServer(UniqueFd socket, const WiringTable& wiring, OpenQueue open_queue)
    : socket_(std::move(socket)), wiring_(wiring), open_queue_(std::move(open_queue)) {}

Status AttachServer::on_readable() {
  unsigned char request[wire::kRequestSize + 1];
  ssize_t size = 0;
  do {
    size = ::recv(socket_.get(), request, sizeof request, MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return ok();
  if (size <= 0) return Error(ErrorCode::kUnavailable, "the process closed its attach socket");
  if (size != static_cast<ssize_t>(wire::kRequestSize) || wire::load32(request) != wire::kPacketMagic ||
      wire::load16(request + 4) != wire::kPacketVersion ||
      wire::load16(request + 6) != wire::kAskDescriptors) {
    return Error(ErrorCode::kCorrupt, "a process sent what is no attach request");
  }
  return answer(wire::load32(request + 8));
}

Status AttachServer::answer(std::uint32_t first) {
  const std::uint32_t total = wiring_.current().descriptors;
  if (first > total) return Error(ErrorCode::kCorrupt, "a process asked for a descriptor it does not have");
  const std::uint32_t number = std::min(total - first, wire::kDescriptorsPerPacket);
  std::vector<UniqueFd> opened;
  std::vector<int> fds;
  if (first == 0) fds.push_back(wiring_.fd());
  for (std::uint32_t i = 0; i < number; ++i) {
    auto fd = open_queue_(first + i);
    if (!fd) {
      std::string reply(wire::kReplySize, '\0');
      fill_head(reinterpret_cast<unsigned char*>(reply.data()), 1, wiring_.generation());
      reply += fd.error().describe().substr(0, 1000);
      MVM_TRY(send_packet(socket_.get(), {reinterpret_cast<const unsigned char*>(reply.data()), reply.size()},
                          {}));
      return std::move(fd).error();
    }
    fds.push_back(fd->get());
    opened.push_back(std::move(*fd));
  }
  unsigned char reply[wire::kReplySize]{};
  fill_head(reply, 0, wiring_.generation());
  wire::store32(reply + 16, first);
  wire::store32(reply + 20, number);
  wire::store32(reply + 24, total);
  MVM_TRY(send_packet(socket_.get(), reply, fds));
  if (first + number == total) attached_ = true;
  return ok();
}

}  // namespace mvm::queuevm
