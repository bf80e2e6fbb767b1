// SPDX-License-Identifier: Apache-2.0
#include "region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "guard.h"
#include "mvm.h"

namespace mvm::ring {
namespace {

constexpr std::uint64_t kPage = 65536;  // of every architecture; parts that are mapped apart begin on one
constexpr std::uint64_t kLeastPlaces = 1024;
constexpr std::uint64_t kClaimsAt = std::uint64_t{1} << 40;  // lock bytes lie far behind the content

std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

bool claim_call(int fd, int command, short type, std::uint32_t index, short* found) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(kClaimsAt + index);
  lock.l_len = 1;
  int outcome = 0;
  do {
    outcome = ::fcntl(fd, command, &lock);
  } while (outcome != 0 && errno == EINTR);
  if (found != nullptr) *found = lock.l_type;
  return outcome == 0;
}

bool same(const Geometry& a, const Geometry& b) {
  return a.mode == b.mode && a.cell_count == b.cell_count && a.slots_at == b.slots_at &&
         a.cells_at == b.cells_at && a.data_at == b.data_at && a.data_size == b.data_size &&
         a.file_size == b.file_size;
}

Mode mode_of(const Spec& spec) {
  if (spec.kind != kFifo || spec.when_full == kDropOldest || spec.ttl_ms != 0) return kCells;
  return spec.producers == 1 && spec.consumers == 1 ? kStream : kClaims;
}

}  // namespace

const char* check(const Spec& spec) {
  if (spec.kind > kLatest) return "unknown kind of queue";
  if (spec.when_full > kFail) return "unknown rule for a full queue";
  if (spec.deliver > 2) return "unknown delivery rule";
  if (spec.fragments > 1) return "unknown fragment rule";
  if (spec.producers < 1 || spec.producers > kMaxSlots) return "a queue has 1 to 4096 producers";
  if (spec.consumers < 1 || spec.consumers > kMaxSlots) return "a queue has 1 to 4096 consumers";
  if (spec.bytes < kMinBytes || spec.bytes > kMaxBytes) return "a queue holds 4096 bytes to 4 GiB";
  if (spec.capacity < 1 || spec.capacity > kMaxStreamMessages) return "a queue holds 1 to 1048576 messages";
  if (mode_of(spec) != kStream && spec.capacity > kMaxCells) {
    return "a queue of this kind, or with several ends, holds 1 to 65536 messages";
  }
  if (spec.timeout_ns < -1) return "a time-out is not negative";
  if (spec.ttl_ms > kMaxTtl) return "a message lives 24 days at most";
  return nullptr;
}

Geometry geometry_of(const Spec& spec) {
  Geometry at;
  at.mode = mode_of(spec);
  at.slots_at = 4096;
  const std::uint64_t slots = std::uint64_t{spec.producers} + spec.consumers;
  at.cells_at = round_up(at.slots_at + slots * sizeof(Slot), 4096);
  if (at.mode == kStream) {
    at.data_at = round_up(at.cells_at, kPage);
    at.data_size = std::bit_ceil(std::max(spec.bytes, kPage));
  } else if (at.mode == kClaims) {
    // Twice the capacity: messages that are held do not count towards it, but keep their places.
    at.cell_count =
        static_cast<std::uint32_t>(std::bit_ceil(std::max(2 * spec.capacity + slots, kLeastPlaces)));
    at.data_at = round_up(at.cells_at + sizeof(ClaimTable) + at.cell_count * sizeof(Place), kPage);
    at.data_size = std::bit_ceil(std::max(spec.bytes, kPage));
  } else {
    // Every end may hold one message that does not count: one reserved or peeked.
    at.cell_count = static_cast<std::uint32_t>(spec.capacity + slots);
    at.data_at = round_up(at.cells_at + sizeof(CellTable) + at.cell_count * sizeof(Cell), kPage);
    // Half as much again against fragmentation, and each message's rounding.
    at.data_size = round_up(spec.bytes + spec.bytes / 2 + at.cell_count * kCellAlign, 4096);
  }
  at.file_size = at.data_at + at.data_size;
  return at;
}

int format(int fd, const Spec& spec) {
  const Geometry at = geometry_of(spec);
  if (::ftruncate(fd, static_cast<off_t>(at.file_size)) != 0) return errno;
  // Allocates the pages, charged to the caller, and fails here rather than with SIGBUS later.
  if (const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(at.file_size)); error != 0) return error;
  void* memory = ::mmap(nullptr, at.data_at, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return errno;
  auto* base = static_cast<char*>(memory);
  if (at.mode == kCells) {
    auto& table = *reinterpret_cast<CellTable*>(base + at.cells_at);
    auto* cells = reinterpret_cast<Cell*>(base + at.cells_at + sizeof(CellTable));
    for (std::uint32_t i = 0; i < at.cell_count; ++i) {
      cells[i].next.store(i + 1 < at.cell_count ? i + 1 : kNone);
      cells[i].below.store(kNone);
      cells[i].above.store(kNone);
    }
    table.free_head.store(0);
    table.lowest.store(kNone);
    table.rover.store(kNone);
    for (auto& level : table.level) {
      level.head.store(kNone);
      level.tail.store(kNone);
    }
  }
  auto& header = *reinterpret_cast<Header*>(base);
  header.version = kVersion;
  header.byte_order = kByteOrder;
  header.spec = spec;
  header.geometry = at;
  std::atomic_thread_fence(std::memory_order_release);
  header.magic = kMagic;
  ::munmap(memory, at.data_at);
  return 0;
}

Region::~Region() {
  if (base_ != nullptr) {
    guard_remove(base_);
    ::munmap(base_, mapped_);
  }
  if (fd_ >= 0) ::close(fd_);
}

void Region::swap(Region& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(mapped_, other.mapped_);
  std::swap(fd_, other.fd_);
  std::swap(spec_, other.spec_);
  std::swap(geometry_, other.geometry_);
}

int Region::open(int fd, std::string& why, bool observer) {
  struct stat info {};
  Header header{};
  if (::fstat(fd, &info) != 0) {
    why = std::string("fstat of a queue: ") + std::system_category().message(errno);
    return MVM_ESYS;
  }
  if (::pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header) ||
      header.magic != kMagic) {
    why = "not a queue's file";
    return MVM_ECORRUPT;
  }
  if (header.version != kVersion || header.byte_order != kByteOrder) {
    why = "a queue's file of another version or byte order";
    return MVM_ECORRUPT;
  }
  if (const char* broken = check(header.spec); broken != nullptr) {
    why = broken;
    return MVM_ECORRUPT;
  }
  if (!same(header.geometry, geometry_of(header.spec)) ||
      static_cast<std::uint64_t>(info.st_size) != header.geometry.file_size) {
    why = "a queue's file whose parts do not fit its description";
    return MVM_ECORRUPT;
  }
  const Geometry& at = header.geometry;
  const std::size_t mirror = at.mode == kCells ? 0 : at.data_size;
  const std::size_t length = at.file_size + mirror;
  const int access = observer ? PROT_READ : PROT_READ | PROT_WRITE;
  void* space = ::mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bool good = space != MAP_FAILED;
  auto* base = static_cast<char*>(space);
  good = good && ::mmap(base, at.file_size, access, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
  if (good && mirror != 0) {
    good = ::mmap(base + at.file_size, mirror, access, MAP_SHARED | MAP_FIXED, fd,
                  static_cast<off_t>(at.data_at)) != MAP_FAILED;
  }
  if (!good) {
    why = std::string("mapping a queue: ") + std::system_category().message(errno);
    if (space != MAP_FAILED) ::munmap(space, length);
    return MVM_ESYS;
  }
  ::madvise(space, length, MADV_DONTFORK);  // a forked child is not this end
  guard_add(space, length);
  base_ = base;
  mapped_ = length;
  fd_ = fd;
  spec_ = header.spec;
  geometry_ = header.geometry;
  return MVM_OK;
}

bool Region::claim(std::uint32_t index) const {
  return claim_call(fd_, F_OFD_SETLK, F_WRLCK, index, nullptr);
}
void Region::unclaim(std::uint32_t index) const { claim_call(fd_, F_OFD_SETLK, F_UNLCK, index, nullptr); }
bool Region::claimed(std::uint32_t index) const {
  short found = F_WRLCK;
  return !claim_call(fd_, F_OFD_GETLK, F_WRLCK, index, &found) || found != F_UNLCK;
}

int reopen(int fd) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return ::open(path, O_RDWR | O_CLOEXEC);
}

}  // namespace mvm::ring
