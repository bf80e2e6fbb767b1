// SPDX-License-Identifier: Apache-2.0
#include "job.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <system_error>

namespace mvm::lib {
namespace {

constexpr int kAnswerSeconds = 30;
constexpr std::size_t kSparePorts = 4096;  // that a running process may be given besides

std::string system_error(const char* what) {
  return std::string(what) + ": " + std::system_category().message(errno);
}

void close_all(std::vector<int>& descriptors) {
  for (int& fd : descriptors) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
}

/// One packet with its descriptors (close-on-exec). The size, 0 at the end, -1 and errno.
ssize_t receive_packet(int socket, unsigned char* bytes, std::size_t room, std::vector<int>& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)];
  iovec piece{bytes, room};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t size = 0;
  do {
    size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return size;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
      fds.push_back(fd);
    }
  }
  return size;
}

}  // namespace

Job::~Job() {
  for (const Mapping& mapping : mappings_) ::munmap(const_cast<unsigned char*>(mapping.memory), mapping.size);
  if (socket_ >= 0) ::close(socket_);
}

int Job::attach(int fd, std::unique_ptr<Job>& job, std::string& why) {
  int type = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_SEQPACKET) {
    why =
        "the descriptor named by MVM_FD is not MVM's socket: the program was not started by MVM, or "
        "something "
        "in between closed it";
    return MVM_ENOTMVM;
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  std::unique_ptr<Job> made(new Job);
  made->socket_ = fd;
  made->process_ = ::getpid();
  int result = MVM_OK;
  do {
    result = made->fetch(why);
    if (result != MVM_OK) break;
    for (auto& port : made->ports_) {
      port->adopt(made->interrupt());
      const int trouble = port->take_trouble(why);
      if (result == MVM_OK) result = trouble;
    }
    // An end that was closed before anybody came for it: the wiring has changed since.
  } while (result == MVM_EBUSY && made->stale());
  if (result != MVM_OK) {
    made->close(ring::kDead);
    return result;
  }
  job = std::move(made);
  return MVM_OK;
}

bool Job::stale() const {
  return reinterpret_cast<const std::atomic<std::uint32_t>*>(memory_ + wire::kGenerationAt)->load() !=
         generation_;
}

int Job::enter(Port& port, std::string& why) {
  const std::lock_guard lock(mutex_);
  port.own();
  int result = MVM_OK;
  do {
    if (stale()) {
      result = fetch(why);
      if (result != MVM_OK) return result;
    }
    adopt_own();
    result = port.take_trouble(why);
  } while (result == MVM_EBUSY && stale());
  return result;
}

unsigned Job::count() {
  const std::lock_guard lock(mutex_);
  std::string why;
  // A wiring that cannot be had now is asked for again by the next call; until then the one before counts.
  if (stale() && fetch(why) == MVM_OK) adopt_own();
  return count_;
}

// Ports that other threads use are left to them: they may be in a call right now.
void Job::adopt_own() {
  for (auto& port : ports_)
    if (port->owner() == nullptr || port->owner() == this_thread()) port->adopt(interrupt());
}

int Job::fetch(std::string& why) {
  wire::Table table;
  std::vector<int> descriptors;
  int result = receive(table, descriptors, why);
  if (result == MVM_OK) result = hand_out(table, descriptors, why);
  close_all(descriptors);
  return result;
}

// One request and its answer. A kernel that dies with the request leaves it to be asked again of the next
// one, so an answer may come twice: one to another request than ours is thrown away.
ssize_t Job::ask(std::uint32_t first, unsigned char* reply, std::size_t room, std::vector<int>& fds) {
  const timeval patience{1, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  unsigned char request[wire::kRequestSize]{};
  wire::store32(request, wire::kPacketMagic);
  wire::store16(request + 4, wire::kPacketVersion);
  wire::store16(request + 6, wire::kAskDescriptors);
  wire::store32(request + 8, first);
  ssize_t size = -1;
  for (int tries = 0; tries < kAnswerSeconds; ++tries) {
    if (::send(socket_, request, sizeof request, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof request))
      return 0;
    for (;;) {
      size = receive_packet(socket_, reply, room, fds);
      if (size < static_cast<ssize_t>(wire::kReplySize) || wire::load32(reply) != wire::kPacketMagic) break;
      if (wire::load16(reply + 6) != 0 || wire::load32(reply + 16) == first) return size;
      close_all(fds);
      fds.clear();
    }
    if (size >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return 0;
  }
  return size;
}

// Asks packet by packet until all descriptors are here. A wiring that changes meanwhile begins anew.
int Job::receive(wire::Table& table, std::vector<int>& descriptors, std::string& why) {
  std::uint64_t generation = 0;
  std::uint32_t total = 1;
  for (std::uint32_t first = 0; first < total || first == 0;) {
    unsigned char reply[4096];
    std::vector<int> fds;
    const ssize_t size = ask(first, reply, sizeof reply, fds);
    if (size < static_cast<ssize_t>(wire::kReplySize)) {
      const bool late = size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
      close_all(fds);
      why = late ? "the node's kernel did not answer within 30 s" : "the node's kernel closed the connection";
      return late ? MVM_TIMEOUT : MVM_ESYS;
    }
    if (wire::load16(reply + 6) != 0) {
      close_all(fds);
      why = "the node's kernel refused: " + std::string(reinterpret_cast<char*>(reply) + wire::kReplySize,
                                                        static_cast<std::size_t>(size) - wire::kReplySize);
      return MVM_ESYS;
    }
    const std::uint64_t now = wire::load64(reply + 8);
    const std::uint32_t number = wire::load32(reply + 20);
    total = wire::load32(reply + 24);
    if (first != 0 && now != generation) {
      close_all(fds);
      close_all(descriptors);
      descriptors.clear();
      first = 0;
      continue;
    }
    generation = now;
    const std::size_t table_fds = first == 0 ? 1 : 0;
    if (wire::load32(reply + 16) != first || fds.size() != number + table_fds ||
        total > wire::kMaxDescriptors || first + number > total || (number == 0 && first < total)) {
      close_all(fds);
      why = "the node's kernel answered with the wrong descriptors (is RLIMIT_NOFILE too low?)";
      return MVM_ESYS;
    }
    if (first == 0) {
      const int result = map_table(fds[0], why);
      ::close(fds[0]);
      fds.erase(fds.begin());
      if (result != MVM_OK) {
        close_all(fds);
        return result;
      }
    }
    descriptors.insert(descriptors.end(), fds.begin(), fds.end());
    first += number;
    if (total == 0) break;
  }
  const int result = read_table(table, why);
  if (result == MVM_OK && generation_ != static_cast<std::uint32_t>(generation)) {
    // The next wiring came in between: these descriptors are of the one before.
    close_all(descriptors);
    descriptors.clear();
    return receive(table, descriptors, why);
  }
  if (result == MVM_OK && table.descriptors != descriptors.size()) {
    why = "the wiring table and the descriptors do not match";
    return MVM_ECORRUPT;
  }
  return result;
}

int Job::map_table(int fd, std::string& why) {
  struct stat info {};
  if (::fstat(fd, &info) != 0 || info.st_size < static_cast<off_t>(wire::kTableHeader) ||
      info.st_size > static_cast<off_t>(2 * wire::kMaxTable + wire::kTableHeader)) {
    why = "the wiring table has an impossible size";
    return MVM_ECORRUPT;
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  for (const Mapping& mapping : mappings_) {
    if (mapping.device != info.st_dev || mapping.inode != info.st_ino) continue;
    memory_ = mapping.memory;
    mapped_ = mapping.size;
    return MVM_OK;
  }
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    why = system_error("mapping the wiring table");
    return MVM_ESYS;
  }
  memory_ = static_cast<const unsigned char*>(memory);
  mapped_ = size;
  mappings_.push_back({memory_, mapped_, info.st_dev, info.st_ino});
  return MVM_OK;
}

ring::Interrupt Job::interrupt() const {
  ring::Interrupt interrupt;
  interrupt.word = reinterpret_cast<std::atomic<std::uint32_t>*>(
      const_cast<unsigned char*>(memory_ + wire::kGenerationAt));
  interrupt.value = generation_;
  interrupt.sleeps = true;
  return interrupt;
}

int Job::read_table(wire::Table& table, std::string& why) {
  why = "the wiring table is of another format or version";
  const std::uint64_t room = wire::load32(memory_ + 12);
  if (wire::load64(memory_) != wire::kTableMagic || wire::load32(memory_ + 8) != wire::kTableVersion ||
      room < 4 || wire::kTableHeader + 2 * room > mapped_) {
    return MVM_ECORRUPT;
  }
  const auto* word = reinterpret_cast<const std::atomic<std::uint32_t>*>(memory_ + wire::kGenerationAt);
  for (int tries = 0; tries < 1000; ++tries) {
    generation_ = word->load(std::memory_order_acquire);
    const unsigned char* copy = memory_ + wire::kTableHeader + (memory_[wire::kGenerationAt] & 1) * room;
    const std::uint64_t length = wire::load32(copy);
    std::vector<unsigned char> bytes;
    if (length <= room - 4) bytes.assign(copy + 4, copy + 4 + length);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (word->load() != generation_) continue;  // the writer went on: what we read may be mixed
    if (length > room - 4) return MVM_ECORRUPT;
    return wire::decode(bytes.data(), bytes.size(), table, why) ? MVM_OK : MVM_ECORRUPT;
  }
  why = "the wiring table changes too fast to be read";
  return MVM_ESYS;
}

// Tells each port what it will be joined to.
int Job::hand_out(wire::Table& table, std::vector<int>& descriptors, std::string& why) {
  const bool first = ports_.empty();
  if (first) {
    table_.job = table.job;
    table_.role = table.role;
    table_.parameters = table.parameters;  // callers hold pointers to these
    ports_.reserve(table.ports.size() + kSparePorts);
  }
  index_.store(table.index, std::memory_order_relaxed);
  count_ = table.count;
  std::vector<NewLinks> next(ports_.size());
  for (wire::Port& wired : table.ports) {
    int handle = find(wired.name.c_str(), wired.index);
    if (handle < 0) {  // a table names no port twice, so it is none of those added here
      if (ports_.size() == ports_.capacity()) {
        why = "the wiring has more new ports than fit";
        return MVM_ESYS;
      }
      ports_.push_back(std::make_unique<Port>(wired.name, wired.index, wired.direction == 1, wired.deliver));
      next.emplace_back();
      handle = static_cast<int>(ports_.size()) - 1;
    }
    const Port& port = *ports_[static_cast<std::size_t>(handle)];
    NewLinks& wanted = next[static_cast<std::size_t>(handle)];
    wanted.deliver = wired.deliver;
    wanted.links = std::move(wired.links);
    for (const wire::Link& link : wanted.links)
      if (!port.joined(link.id))
        wanted.descriptors.emplace_back(link.id, std::exchange(descriptors[link.descriptor], -1));
  }
  for (std::size_t i = 0; i < ports_.size(); ++i) ports_[i]->expect(std::move(next[i]));
  known_.store(ports_.size(), std::memory_order_release);
  return MVM_OK;
}

int Job::find(const char* name, unsigned index) const {
  const auto known = ports();
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (known[i]->index() == index && known[i]->name() == name) return static_cast<int>(i);
  }
  return MVM_ENOENT;
}

void Job::close(ring::SlotState how) {
  for (auto& port : ports_) port->close(how);
}

}  // namespace mvm::lib
