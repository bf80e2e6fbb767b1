#pragma once
// The wiring table: which queues each port of one process feeds or reads. Written by the node's queue plug-in
// alone, mapped read-only by the process (docs/formats/wiring.md).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/queue.h"

namespace mvm::queuevm {

enum class Direction { kIn, kOut };

/// One queue a port is joined to.
struct WiringLink {
  std::uint64_t id = 0;                   ///< the link's number in its lab
  std::uint32_t descriptor = 0;           ///< which of the process's queue descriptors
  std::uint32_t slot = 0;                 ///< this end's slot there (a producer slot for an out port)
  std::vector<std::uint64_t> after = {};  ///< an in port's: read only once these links of it have ended
  bool operator==(const WiringLink&) const = default;
};

/// One port, or one element of a port array.
struct WiringPort {
  std::string name;
  std::uint32_t index = 0;
  Direction direction = Direction::kIn;
  Deliver deliver = Deliver::kOneOf;  ///< how an out port with several links uses them
  std::vector<WiringLink> links;      ///< empty: the port is not joined; reading is end of stream
  bool operator==(const WiringPort&) const = default;
};

/// All a process may know about itself.
struct Wiring {
  std::string job;
  std::string role;
  std::uint32_t index = 0;
  std::uint32_t count = 1;
  std::vector<std::pair<std::string, std::string>> parameters;
  std::vector<WiringPort> ports;
  std::uint32_t descriptors = 0;  ///< how many queue descriptors the links refer to
  bool operator==(const Wiring&) const = default;
};

/// Bounds of a table. A larger one is refused by both sides.
inline constexpr std::size_t kMaxWiringBytes = std::size_t{4} << 20;
inline constexpr std::size_t kMaxWiringPorts = 65536;
inline constexpr std::size_t kMaxWiringLinks = 65536;
inline constexpr std::size_t kMaxWiringText = 4096;

/// The bytes of one copy of the table. kInvalid where a bound is broken.
[[nodiscard]] Result<std::string> encode(const Wiring& wiring);
/// Strict: every byte is accounted for, every index in range, no port twice. kCorrupt otherwise.
[[nodiscard]] Result<Wiring> decode_wiring(std::span<const std::byte> bytes);

/// The table's memory: a sealed memfd, written through this object only. One thread at a time.
class WiringTable {
 public:
  /// `room`: bytes a later update may take at most; 0 picks twice the first table's size, at least 64 KiB.
  [[nodiscard]] static Result<WiringTable> create(const Wiring& wiring, std::size_t room = 0);
  /// Goes on with a table whose writer is gone, from what keeping_fd() gave. kCorrupt where it is none.
  [[nodiscard]] static Result<WiringTable> adopt(UniqueFd fd);
  WiringTable(WiringTable&&) noexcept;
  WiringTable& operator=(WiringTable&&) noexcept;
  ~WiringTable();

  /// Replaces the wiring: the unused copy is written, then the generation stepped. kExhausted where it does
  /// not fit in the room.
  Status update(const Wiring& wiring);
  /// A table with more room for a wiring that does not fit. Readers of this one find out that it is no more,
  /// and ask again: be ready to answer with the other.
  [[nodiscard]] Result<WiringTable> outgrow(const Wiring& wiring);
  [[nodiscard]] std::uint64_t generation() const;
  [[nodiscard]] const Wiring& current() const;
  /// The descriptor to give to the process. It cannot be written through it.
  [[nodiscard]] int fd() const;
  /// The descriptor for whoever keeps the table over this process's death. Never the reader's.
  [[nodiscard]] int keeping_fd() const;

 private:
  struct State;
  explicit WiringTable(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::queuevm
