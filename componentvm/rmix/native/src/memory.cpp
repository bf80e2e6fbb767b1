#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "mvm/rmix/sockets.h"

namespace mvm::rmix::native {

using namespace sockets;

namespace {

constexpr std::uint64_t kCapacity = 256U << 10U;     // of a ring
constexpr std::uint64_t kNote = 0x31304d454d584d52;  // "RMXMEM01", with the descriptor
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

void fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

}  // namespace

struct Memory::Ring {
  alignas(64) std::atomic<std::uint64_t> head;  // bytes ever written; the writer's
  std::atomic<std::uint32_t> waits;             // the writer wants to hear of room
  alignas(64) std::atomic<std::uint64_t> tail;  // bytes ever read; the reader's
  std::atomic<std::uint32_t> sleeps;            // the reader wants to hear of bytes
  alignas(64) std::array<std::byte, kCapacity> data;
};

Memory::Memory(UniqueFd socket, std::byte* begin, bool server)
    : socket_(std::move(socket)),
      begin_(begin),
      in_(reinterpret_cast<Ring*>(begin) + (server ? 0 : 1)),
      out_(reinterpret_cast<Ring*>(begin) + (server ? 1 : 0)) {}

Memory::~Memory() { ::munmap(begin_, 2 * sizeof(Ring)); }

Result<std::unique_ptr<Memory>> Memory::make(UniqueFd socket) {
  const UniqueFd memory(::memfd_create("mvm-rmix", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory || ::ftruncate(memory.get(), 2 * sizeof(Ring)) != 0 ||
      ::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0)
    return Error::from_errno(errno, "making shared memory");
  void* const begin = ::mmap(nullptr, 2 * sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (begin == MAP_FAILED) return Error::from_errno(errno, "mapping shared memory");
  std::unique_ptr<Memory> end(new Memory(std::move(socket), static_cast<std::byte*>(begin), true));
  MVM_TRY(send_descriptor(end->fd(), kNote, memory.get()));
  return end;
}

Result<std::unique_ptr<Memory>> Memory::join(UniqueFd socket, Clock::Instant deadline) {
  MVM_ASSIGN(const Received received, receive_descriptor(socket.get(), deadline));
  struct stat about {};
  const int seals = ::fcntl(received.descriptor.get(), F_GET_SEALS);
  if (received.note != kNote || seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
      ::fstat(received.descriptor.get(), &about) != 0 ||
      about.st_size != static_cast<off_t>(2 * sizeof(Ring)))
    return Error(ErrorCode::kUnsupported, "the server's shared memory is of another form");
  void* const begin =
      ::mmap(nullptr, 2 * sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED, received.descriptor.get(), 0);
  if (begin == MAP_FAILED) return Error::from_errno(errno, "mapping shared memory");
  return std::unique_ptr<Memory>(new Memory(std::move(socket), static_cast<std::byte*>(begin), false));
}

Result<std::size_t> Memory::read(std::span<std::byte> buffer) {
  const std::uint64_t there = in_->head.load(std::memory_order_acquire) - tail_;
  if (there > kCapacity) return Error(ErrorCode::kCorrupt, "a peer's place in shared memory is impossible");
  const std::size_t count = std::min<std::uint64_t>(there, buffer.size());
  if (count == 0) return std::size_t{0};
  const std::size_t place = tail_ % kCapacity;
  const std::size_t first = std::min<std::uint64_t>(count, kCapacity - place);
  std::memcpy(buffer.data(), in_->data.data() + place, first);
  std::memcpy(buffer.data() + first, in_->data.data(), count - first);
  tail_ += count;
  in_->tail.store(tail_, std::memory_order_release);
  fence();
  if (in_->waits.load(std::memory_order_relaxed) != 0 && in_->waits.exchange(0) != 0) ring();
  return count;
}

Result<std::size_t> Memory::write(std::span<const std::byte> bytes) {
  std::size_t total = 0;
  for (bool last_look = false; total < bytes.size();) {
    const std::uint64_t used = head_ - out_->tail.load(std::memory_order_acquire);
    if (used > kCapacity) return Error(ErrorCode::kCorrupt, "a peer's place in shared memory is impossible");
    const std::size_t count = std::min<std::uint64_t>(kCapacity - used, bytes.size() - total);
    if (count == 0) {
      if (last_look) break;
      out_->waits.store(1, std::memory_order_relaxed);
      fence();
      last_look = true;
      continue;
    }
    const std::size_t place = head_ % kCapacity;
    const std::size_t first = std::min<std::uint64_t>(count, kCapacity - place);
    std::memcpy(out_->data.data() + place, bytes.data() + total, first);
    std::memcpy(out_->data.data(), bytes.data() + total + first, count - first);
    head_ += count;
    total += count;
    out_->head.store(head_, std::memory_order_release);
    fence();
    if (out_->sleeps.load(std::memory_order_relaxed) != 0 && out_->sleeps.exchange(0) != 0) ring();
  }
  if (total == bytes.size()) out_->waits.store(0, std::memory_order_relaxed);
  return total;
}

bool Memory::readable() const { return in_->head.load(std::memory_order_acquire) != tail_; }

bool Memory::arm() {
  in_->sleeps.store(1, std::memory_order_relaxed);
  fence();
  return !readable();
}

void Memory::disarm() { in_->sleeps.store(0, std::memory_order_relaxed); }

Status Memory::hear() {
  std::array<std::byte, 64> bells{};
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), bells.data(), bells.size(), MSG_DONTWAIT);
    if (got > 0 || (got < 0 && errno == EINTR)) continue;  // its end may be behind the bells
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return ok();
    return Error(ErrorCode::kUnavailable, "the peer closed the connection");
  }
}

/// Where the socket is full the other side has enough to hear; where it is broken, hear() learns it.
void Memory::ring() const {
  const char bell = 1;
  [[maybe_unused]] const ssize_t put = ::send(socket_.get(), &bell, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace mvm::rmix::native
