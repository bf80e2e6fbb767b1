#include "lab_region.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/host/host_agent.h"

namespace mvm::host {
namespace {

constexpr std::uint64_t kMostBytes = 64ULL << 20;
constexpr std::uint64_t kMostPart = 2ULL << 20;
constexpr std::uint64_t kLeastBytes = 1ULL << 20;  // of such a device in libvirt

}  // namespace

RegionPlan plan_region(std::uint32_t seats) {
  if (seats == 0 || seats > kMostRegionSeats) return {};
  const std::uint64_t pairs = std::uint64_t{seats} * (seats + 1) / 2;
  RegionPlan plan{.bytes = 0, .part = kMostPart};
  while (plan.part * pairs > kMostBytes) plan.part /= 2;
  plan.bytes = std::max(kLeastBytes, std::bit_ceil(plan.part * pairs));
  return plan;
}

Result<queuevm::RegionPart> part_of(std::uint32_t seats, std::uint32_t one, std::uint32_t other) {
  const RegionPlan plan = plan_region(seats);
  const std::uint64_t low = std::min(one, other);
  const std::uint64_t high = std::max(one, other);
  if (plan.part == 0 || low == high || high > seats)
    return Error(ErrorCode::kInvalid, "no shared memory for seats " + std::to_string(one) + " and " +
                                          std::to_string(other) + " of " + std::to_string(seats));
  return queuevm::RegionPart{.offset = (high * (high - 1) / 2 + low) * plan.part, .bytes = plan.part};
}

std::filesystem::path region_file(const std::filesystem::path& shared_memory, const std::string& lab) {
  return std::filesystem::path("/dev/shm") /
         ("mvm-" + lab + "-" + sha256_hex(shared_memory.native()).substr(0, 8));
}

Status make_region(const std::filesystem::path& file, std::uint64_t bytes) {
  const UniqueFd region(::open(file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  struct stat info {};
  if (!region || ::fstat(region.get(), &info) != 0)
    return Error::from_errno(errno, "making the shared memory " + file.string());
  if (static_cast<std::uint64_t>(info.st_size) == bytes) return ok();
  // Pages are charged to who touches them first: not to a guest.
  const int problem = ::posix_fallocate(region.get(), 0, static_cast<off_t>(bytes));
  return problem == 0 ? ok() : Error::from_errno(problem, "taking memory for " + file.string());
}

Result<UniqueFd> open_region(const std::filesystem::path& file) {
  UniqueFd region(::open(file.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!region) return Error::from_errno(errno, "opening the shared memory " + file.string());
  return region;
}

}  // namespace mvm::host
