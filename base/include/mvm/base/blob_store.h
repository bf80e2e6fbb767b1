#pragma once
// Blobs on disk, named by their SHA-256: sources, binaries, results. Broker, host and node keep one each.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/digest.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm {

/// Bounds of a store.
struct BlobLimits {
  std::uint64_t blob = 4ULL << 30;     ///< largest blob, bytes
  std::uint64_t keep_free = 64 << 20;  ///< refuse to write where the file system would have less left, bytes
};

/// One blob that exists.
struct BlobInfo {
  std::string digest;
  std::uint64_t size = 0;
  std::int64_t stored_ms = 0;  ///< wall clock when it was stored or last asked for again by put
};

/// A blob on its way in. Destroying it before commit() throws its bytes away, except where it was made by
/// BlobStore::resume(). One thread at a time.
class BlobWriter {
 public:
  BlobWriter(BlobWriter&&) noexcept = default;
  BlobWriter& operator=(BlobWriter&&) noexcept;
  ~BlobWriter();
  /// Adds bytes. kExhausted beyond the size limit or where the disk is nearly full.
  [[nodiscard]] Status append(std::string_view bytes);
  /// Bytes it has so far: where a resumed upload goes on.
  [[nodiscard]] std::uint64_t offset() const { return size_; }
  /// Makes the blob visible, durably: after success it survives a crash. Answers its digest; kCorrupt (and
  /// the bytes are gone) where another one was promised. The writer is spent afterwards.
  [[nodiscard]] Result<std::string> commit();

 private:
  friend class BlobStore;
  BlobWriter() = default;
  void discard();
  std::filesystem::path folder_;     ///< of the store
  std::filesystem::path temporary_;  ///< empty: spent
  std::string promised_;             ///< digest, or empty
  UniqueFd fd_;
  Sha256 digest_;
  std::uint64_t size_ = 0;
  std::uint64_t checked_ = 0;  ///< size at the last look at the free space
  BlobLimits limits_;
  bool keep_ = false;
};

/// A folder of blobs: `<folder>/ab/abcdef...`, written under `<folder>/incoming`. Any number of threads and
/// processes may use one folder at once. A blob is never changed; whoever has it open keeps it after
/// remove().
class BlobStore {
 public:
  /// Makes the folder (mode 0700) where it is missing, and clears what crashed writers left in it.
  [[nodiscard]] static Result<BlobStore> open(std::filesystem::path folder, BlobLimits limits = {});

  [[nodiscard]] bool has(const std::string& digest) const;
  /// Bytes of a blob; kNotFound.
  [[nodiscard]] Result<std::uint64_t> size(const std::string& digest) const;
  /// Open for reading, at its start; kNotFound, kInvalid where it is no digest.
  [[nodiscard]] Result<UniqueFd> read(const std::string& digest) const;
  /// The whole blob; kExhausted where it is larger than `limit` bytes.
  [[nodiscard]] Result<std::string> read_whole(const std::string& digest, std::size_t limit) const;

  /// Starts a blob whose digest is known (commit() verifies it), or is not (empty).
  [[nodiscard]] Result<BlobWriter> write(const std::string& digest = {}) const;
  /// As write(), but what an earlier broken upload of this digest left is taken up: see offset(). What is not
  /// committed stays for the next try. kConflict where another upload of it is under way.
  [[nodiscard]] Result<BlobWriter> resume(const std::string& digest) const;
  /// Stores some bytes; answers their digest.
  [[nodiscard]] Result<std::string> put(std::string_view bytes) const;
  /// Stores a copy of a regular file; answers its digest.
  [[nodiscard]] Result<std::string> put_file(const std::filesystem::path& file) const;

  /// All blobs, in no order.
  [[nodiscard]] Result<std::vector<BlobInfo>> list() const;
  /// Forgets a blob; it is no error if it is not there.
  [[nodiscard]] Status remove(const std::string& digest) const;

  /// Where the blob is or would be, for programs that read it by name. The digest must be one.
  [[nodiscard]] std::filesystem::path path(const std::string& digest) const;
  [[nodiscard]] const BlobLimits& limits() const { return limits_; }

 private:
  BlobStore(std::filesystem::path folder, BlobLimits limits) : folder_(std::move(folder)), limits_(limits) {}
  std::filesystem::path folder_;
  BlobLimits limits_;
};

}  // namespace mvm
