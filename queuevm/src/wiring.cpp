#include "mvm/queuevm/wiring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>

#include "ring/futex.h"
#include "wire.h"

namespace mvm::queuevm {
namespace {

static_assert(wire::kMaxTable == kMaxWiringBytes && wire::kMaxPorts == kMaxWiringPorts &&
              wire::kMaxLinks == kMaxWiringLinks && wire::kMaxText == kMaxWiringText);

/// Appends little-endian values.
class Writer {
 public:
  void u8(std::uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void u32(std::uint32_t value) {
    unsigned char raw[4];
    wire::store32(raw, value);
    bytes_.append(reinterpret_cast<char*>(raw), sizeof raw);
  }
  void u64(std::uint64_t value) {
    unsigned char raw[8];
    wire::store64(raw, value);
    bytes_.append(reinterpret_cast<char*>(raw), sizeof raw);
  }
  void text(const std::string& value) {
    u32(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
  }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

Wiring from_wire(wire::Table table) {
  Wiring wiring;
  wiring.job = std::move(table.job);
  wiring.role = std::move(table.role);
  wiring.index = table.index;
  wiring.count = table.count;
  wiring.descriptors = table.descriptors;
  wiring.parameters = std::move(table.parameters);
  wiring.ports.reserve(table.ports.size());
  for (wire::Port& port : table.ports) {
    WiringPort& made = wiring.ports.emplace_back();
    made.name = std::move(port.name);
    made.index = port.index;
    made.direction = port.direction == 1 ? Direction::kOut : Direction::kIn;
    made.deliver = static_cast<Deliver>(port.deliver);
    made.links.reserve(port.links.size());
    for (wire::Link& link : port.links)
      made.links.push_back({link.id, link.descriptor, link.slot, std::move(link.after)});
  }
  return wiring;
}

const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

Result<std::string> encode(const Wiring& wiring) {
  Writer out;
  out.text(wiring.job);
  out.text(wiring.role);
  out.u32(wiring.index);
  out.u32(wiring.count);
  out.u32(wiring.descriptors);
  out.u32(static_cast<std::uint32_t>(wiring.parameters.size()));
  for (const auto& [name, value] : wiring.parameters) {
    out.text(name);
    out.text(value);
  }
  out.u32(static_cast<std::uint32_t>(wiring.ports.size()));
  for (const WiringPort& port : wiring.ports) {
    out.text(port.name);
    out.u32(port.index);
    out.u8(port.direction == Direction::kOut ? 1 : 0);
    out.u8(static_cast<std::uint8_t>(port.deliver));
    out.u8(0);
    out.u8(0);
    out.u32(static_cast<std::uint32_t>(port.links.size()));
    for (const WiringLink& link : port.links) {
      out.u64(link.id);
      out.u32(link.descriptor);
      out.u32(link.slot);
      out.u32(static_cast<std::uint32_t>(link.after.size()));
      for (const std::uint64_t id : link.after) out.u64(id);
    }
  }
  std::string bytes = out.take();
  // The reader is the one judge of what a table may be.
  if (auto checked = decode_wiring(std::as_bytes(std::span<const char>(bytes))); !checked) {
    return Error(ErrorCode::kInvalid, checked.error().message());
  }
  return bytes;
}

Result<Wiring> decode_wiring(std::span<const std::byte> bytes) {
  wire::Table table;
  std::string why;
  if (!wire::decode(raw(bytes), bytes.size(), table, why)) return Error(ErrorCode::kCorrupt, why);
  return from_wire(std::move(table));
}

struct WiringTable::State {
  UniqueFd fd;
  UniqueFd reading;
  unsigned char* memory = nullptr;
  std::size_t size = 0;
  std::size_t room = 0;  // of each copy, its length included
  std::uint64_t generation = 0;
  Wiring current;

  ~State() {
    if (memory != nullptr) ::munmap(memory, size);
  }
  /// Maps the file, which has the right size, and opens it again for its reader.
  Status map() {
    void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (mapped == MAP_FAILED) return Error::from_errno(errno, "mapping a wiring table");
    memory = static_cast<unsigned char*>(mapped);
    const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
    reading.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!reading) return Error::from_errno(errno, "opening a wiring table for its reader");
    return ok();
  }
  /// Takes up what the last writer left.
  Status read() {
    if (wire::load64(memory) != wire::kTableMagic || wire::load32(memory + 8) != wire::kTableVersion)
      return Error(ErrorCode::kCorrupt, "found no wiring table of this version");
    room = wire::load32(memory + 12);
    if (room < 4 || wire::kTableHeader + 2 * room != size)
      return Error(ErrorCode::kCorrupt, "a wiring table has an impossible size");
    generation = wire::load64(memory + wire::kGenerationAt);
    const unsigned char* copy = memory + wire::kTableHeader + (generation & 1) * room;
    const std::uint32_t length = wire::load32(copy);
    if (length > room - 4) return Error(ErrorCode::kCorrupt, "a wiring table is cut off");
    MVM_ASSIGN(current, decode_wiring(std::as_bytes(std::span(copy + 4, length))));
    return ok();
  }
  Status write(const Wiring& wiring) {
    MVM_ASSIGN(const std::string bytes, encode(wiring));
    if (bytes.size() + 4 > room) {
      return Error(ErrorCode::kExhausted, "the wiring needs " + std::to_string(bytes.size() + 4) +
                                              " bytes; its table has room for " + std::to_string(room));
    }
    const std::uint64_t next = generation + 1;
    unsigned char* copy = memory + wire::kTableHeader + (next & 1) * room;
    wire::store32(copy, static_cast<std::uint32_t>(bytes.size()));
    std::copy(bytes.begin(), bytes.end(), copy + 4);
    // The upper half first: readers look at the lower one.
    wire::store32(memory + wire::kGenerationAt + 4, static_cast<std::uint32_t>(next >> 32));
    unsigned char low[4];
    wire::store32(low, static_cast<std::uint32_t>(next));
    std::uint32_t word = 0;
    std::memcpy(&word, low, sizeof word);
    auto& shared = *reinterpret_cast<std::atomic<std::uint32_t>*>(memory + wire::kGenerationAt);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    shared.store(word);
    ring::futex_wake(shared, INT_MAX);
    generation = next;
    current = wiring;
    return ok();
  }
};

WiringTable::WiringTable(std::unique_ptr<State> state) : state_(std::move(state)) {}
WiringTable::WiringTable(WiringTable&&) noexcept = default;
WiringTable& WiringTable::operator=(WiringTable&&) noexcept = default;
WiringTable::~WiringTable() = default;

Result<WiringTable> WiringTable::create(const Wiring& wiring, std::size_t room) {
  MVM_ASSIGN(const std::string bytes, encode(wiring));
  if (room == 0) room = std::max<std::size_t>(65536, 2 * bytes.size());
  if (room > kMaxWiringBytes) room = kMaxWiringBytes;
  auto state = std::make_unique<State>();
  state->room = (std::max(room, bytes.size()) + 4 + 63) / 64 * 64;
  state->size = wire::kTableHeader + 2 * state->room;
  state->fd = UniqueFd(::memfd_create("mvm-wiring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!state->fd) return Error::from_errno(errno, "making a wiring table");
  if (::ftruncate(state->fd.get(), static_cast<off_t>(state->size)) != 0) {
    return Error::from_errno(errno, "sizing a wiring table");
  }
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (::fcntl(state->fd.get(), F_ADD_SEALS, kSeals) != 0)
    return Error::from_errno(errno, "sealing a wiring table");
  MVM_TRY(state->map());
  wire::store64(state->memory, wire::kTableMagic);
  wire::store32(state->memory + 8, wire::kTableVersion);
  wire::store32(state->memory + 12, static_cast<std::uint32_t>(state->room));
  MVM_TRY(state->write(wiring));
  return WiringTable(std::move(state));
}

Result<WiringTable> WiringTable::adopt(UniqueFd fd) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || info.st_size < static_cast<off_t>(wire::kTableHeader) ||
      info.st_size > static_cast<off_t>(2 * kMaxWiringBytes + wire::kTableHeader + 256))
    return Error(ErrorCode::kCorrupt, "a wiring table has an impossible size");
  auto state = std::make_unique<State>();
  state->fd = std::move(fd);
  state->size = static_cast<std::size_t>(info.st_size);
  MVM_TRY(state->map());
  MVM_TRY(state->read());
  return WiringTable(std::move(state));
}

Result<WiringTable> WiringTable::outgrow(const Wiring& wiring) {
  MVM_ASSIGN(WiringTable larger, create(wiring));
  MVM_TRY(state_->write(state_->current));
  return larger;
}

Status WiringTable::update(const Wiring& wiring) { return state_->write(wiring); }
std::uint64_t WiringTable::generation() const { return state_->generation; }
const Wiring& WiringTable::current() const { return state_->current; }
int WiringTable::fd() const { return state_->reading.get(); }
int WiringTable::keeping_fd() const { return state_->fd.get(); }

}  // namespace mvm::queuevm
