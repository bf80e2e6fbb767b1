#pragma once
// The memory that a lab's guests share with each other and with their host: one file per lab and host.
// docs/formats/region.md.

#include <filesystem>
#include <string>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/region.h"

namespace mvm::host {

/// How large the region is, and the part of each pair: the largest up to 2 MiB for which all fit into 64 MiB.
struct RegionPlan {
  std::uint64_t bytes = 0;  ///< a power of two; 0: no region
  std::uint64_t part = 0;
};
/// For the host and this many guests; none beyond kMostRegionSeats.
[[nodiscard]] RegionPlan plan_region(std::uint32_t seats);
/// What two of them have. Seat 0 is the host's. kInvalid where they are the same, or one is none.
[[nodiscard]] Result<queuevm::RegionPart> part_of(std::uint32_t seats, std::uint32_t one,
                                                  std::uint32_t other);

/// "/dev/shm/mvm-LAB-1f2e3d4c": libvirt has such files there and nowhere else. The digits tell daemons with
/// folders for shared memory of their own apart.
[[nodiscard]] std::filesystem::path region_file(const std::filesystem::path& shared_memory,
                                                const std::string& lab);
/// Makes the file, all of its memory taken at once and zero, unless it is there. Only we may open it.
[[nodiscard]] Status make_region(const std::filesystem::path& file, std::uint64_t bytes);
[[nodiscard]] Result<UniqueFd> open_region(const std::filesystem::path& file);

}  // namespace mvm::host
