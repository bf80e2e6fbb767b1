#include "mvm/queuevm/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string_view>

#include "mvm/base/file.h"
#include "ring/guard.h"

namespace mvm::queuevm {
namespace {

constexpr std::string_view kVendor = "0x1af4";
constexpr std::string_view kDevice = "0x1110";

bool is_ivshmem(const std::filesystem::path& device) {
  const auto says = [&](const char* name, std::string_view wanted) {
    const auto text = read_file(device / name, 64);
    return text && text->starts_with(wanted);
  };
  return says("vendor", kVendor) && says("device", kDevice);
}

/// The kernel switches a device's memory on where it has no driver to do so.
Status enable(const std::filesystem::path& device) {
  const UniqueFd file(::open((device / "enable").c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), "1", 1) != 1)
    return Error::from_errno(errno, "switching on the shared memory device " + device.filename().string());
  return ok();
}

}  // namespace

Result<std::shared_ptr<Region>> Region::map(const UniqueFd& file) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return Error::from_errno(errno, "a shared region's file");
  if (!S_ISREG(info.st_mode) || info.st_size <= 0)
    return Error(ErrorCode::kInvalid, "a shared region is a file that is not empty");
  const auto size = static_cast<std::size_t>(info.st_size);
  void* const data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return Error::from_errno(errno, "mapping a shared region");
  ring::survive_cut_files();
  ring::guard_add(data, size);
  return std::shared_ptr<Region>(new Region(static_cast<std::byte*>(data), size));
}

Result<std::shared_ptr<Region>> Region::of_guest(const std::filesystem::path& devices) {
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(devices, problem)) {
    if (!is_ivshmem(entry.path())) continue;
    MVM_TRY(enable(entry.path()));
    // The first one lets the processor collect what is written; not every kernel has it.
    for (const char* memory : {"resource2_wc", "resource2"}) {
      const UniqueFd file(::open((entry.path() / memory).c_str(), O_RDWR | O_CLOEXEC));
      if (file) return map(file);
    }
    return Error::from_errno(errno, "opening the shared memory of " + entry.path().filename().string());
  }
  return Error(ErrorCode::kNotFound, "this machine has no memory that it shares with its host (ivshmem)");
}

Region::~Region() {
  ring::guard_remove(data_);
  ::munmap(data_, size_);
}

}  // namespace mvm::queuevm
