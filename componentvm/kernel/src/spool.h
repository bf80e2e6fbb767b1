#pragma once
// Output of processes on disk: written by the launcher, read by the kernel, in segments that are removed as
// they are acknowledged. It outlives the kernel, not the launcher.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::kernel {

inline constexpr std::uint64_t kSegment = 1 << 20;

/// Folder of one process's output.
[[nodiscard]] std::filesystem::path spool_folder(const std::filesystem::path& run,
                                                 const std::string& process);

/// The writing side of one stream.
class Spool {
 public:
  Spool() = default;
  /// `limit`: bytes that may be unacknowledged; `stream`: "out" or "err".
  Spool(std::filesystem::path folder, std::string stream, std::uint64_t limit)
      : folder_(std::move(folder)), stream_(std::move(stream)), limit_(limit) {}

  /// All of it or nothing.
  [[nodiscard]] Status append(std::string_view bytes);
  /// Bytes up to `offset` are not needed any more.
  void acknowledge(std::uint64_t offset);
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t acknowledged() const { return acknowledged_; }
  /// True where the limit is reached: its process must wait.
  [[nodiscard]] bool full() const { return size_ - acknowledged_ >= limit_; }

 private:
  [[nodiscard]] std::filesystem::path segment(std::uint64_t number) const;
  std::filesystem::path folder_;
  std::string stream_;
  std::uint64_t limit_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t removed_ = 0;  // segments below this number are gone
  UniqueFd fd_;                // of the segment that is being written
};

/// Reads `length` bytes at `offset`; nothing where they are gone.
[[nodiscard]] std::optional<std::string> read_spool(const std::filesystem::path& folder,
                                                    const std::string& stream, std::uint64_t offset,
                                                    std::size_t length);

}  // namespace mvm::kernel
