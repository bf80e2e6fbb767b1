#pragma once
// The working directories of processes: <work>/attempts/ATTEMPT/PROCESS.

#include <filesystem>
#include <string>
#include <vector>

#include "mvm/base/blob_store.h"
#include "mvm/base/result.h"
#include "mvm/kernel/plugin.h"

namespace mvm::plugins::job {

/// A file put into a working directory before the process starts.
struct StagedFile {
  std::string digest;
  std::string name;  ///< relative to the working directory
};

/// A name as one path component: what is neither letter, digit, dash nor dot becomes an underscore, and then
/// a piece of the name's digest tells apart what would be equal.
[[nodiscard]] std::string as_component(const std::string& name);

/// Makes and removes them. Thread-safe for different processes.
class Folders {
 public:
  Folders(const kernel::NodeConfig& config, const BlobStore& blobs) : config_(config), blobs_(blobs) {}

  /// Makes the folders that all attempts share.
  [[nodiscard]] Status prepare() const;
  [[nodiscard]] std::filesystem::path attempt(const std::string& attempt) const;
  [[nodiscard]] std::filesystem::path process(const std::string& attempt, const std::string& process) const;
  /// A fresh working directory: the archive `tree` unpacked (where not empty), then the staged files, all
  /// owned by the job's user. What was there is removed. kNotFound where a blob is missing; nothing is left
  /// where it fails.
  [[nodiscard]] Status make(const std::string& attempt, const std::string& process, const std::string& tree,
                            const std::vector<StagedFile>& staged) const;
  /// Stores a regular file of a working directory as a blob; neither the file nor its folders may be links.
  /// Answers its digest and size.
  [[nodiscard]] Result<std::pair<std::string, std::uint64_t>> store(const std::filesystem::path& folder,
                                                                    const std::string& name) const;
  [[nodiscard]] Status remove(const std::string& attempt) const;

 private:
  Status fill(const std::filesystem::path& folder, const std::string& tree,
              const std::vector<StagedFile>& staged) const;
  Status place(int folder, const StagedFile& file) const;

  const kernel::NodeConfig& config_;
  const BlobStore& blobs_;
};

}  // namespace mvm::plugins::job
