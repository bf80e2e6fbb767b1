#pragma once
// Links through memory that machines of one host share: QEMU's ivshmem. docs/formats/region.md.
// [MVM 003, §2.2: queues of nodes of one host in memory they share]

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/proxy.h"

namespace mvm::queuevm {

/// Memory that a host and guests of it have in common: on the host a file, in a guest a PCI device. Whoever
/// maps it reads and writes all of it.
class Region {
 public:
  /// All of a file on the host. kInvalid where it is empty or no file.
  [[nodiscard]] static Result<std::shared_ptr<Region>> map(const UniqueFd& file);
  /// The device of the guest that we run in, switched on and mapped: needs root, and no driver. kNotFound
  /// where it has none. `devices`: where the kernel lists its PCI devices.
  [[nodiscard]] static Result<std::shared_ptr<Region>> of_guest(
      const std::filesystem::path& devices = "/sys/bus/pci/devices");
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  Region(std::byte* data, std::size_t size) : data_(data), size_(size) {}
  std::byte* data_;
  std::size_t size_;
};

/// What two proxies have of a region for themselves. Offset and size are multiples of 4096, not 0 bytes.
struct RegionPart {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  bool operator==(const RegionPart&) const = default;
};

/// Streams of Carrier::kRegion. A connected socket carries the greeting, wakes who sleeps, and ends with its
/// peer; everything else goes through two rings of bytes in the part that the peer and we have. Thread-safe.
class RegionStreams {
 public:
  explicit RegionStreams(std::shared_ptr<Region> region);
  /// Which part is ours and a peer's, for connections made from now on; both must be told the same. kInvalid
  /// where it does not lie in the region.
  [[nodiscard]] Status give(const std::string& peer, RegionPart part);
  /// For Proxy::set_streams(); may outlive this.
  [[nodiscard]] StreamFactory factory() const;

  struct Parts;

 private:
  std::shared_ptr<Parts> parts_;
};

}  // namespace mvm::queuevm
