#pragma once
// blob.*: bytes into and out of the node.

#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "mvm/kernel/plugin.h"

namespace mvm::plugins::job {

/// The operations on blobs. Thread-safe.
class Blobs {
 public:
  explicit Blobs(const BlobStore& store) : store_(store) {}
  [[nodiscard]] Status offer(kernel::Kernel& kernel);

 private:
  struct Upload {
    BlobWriter writer;
    std::chrono::steady_clock::time_point used;
  };
  Result<kernel::Answer> has(const kernel::Call& call) const;
  Result<kernel::Answer> begin(const kernel::Call& call);
  Result<kernel::Answer> data(const kernel::Call& call);
  Result<kernel::Answer> end(const kernel::Call& call);
  Result<kernel::Answer> read(const kernel::Call& call) const;
  Result<Upload*> upload(const std::string& digest);

  const BlobStore& store_;
  std::mutex mutex_;
  std::map<std::string, Upload> uploads_;
};

}  // namespace mvm::plugins::job
