#pragma once
// proc.*, file.get and attempt.clean.

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

#include "folders.h"
#include "mvm/kernel/plugin.h"

namespace mvm::plugins::job {

/// The job's processes on this node. Thread-safe.
class Processes {
 public:
  explicit Processes(kernel::Kernel& kernel) : kernel_(kernel), folders_(kernel.config(), kernel.blobs()) {}
  [[nodiscard]] Status offer();

 private:
  Result<kernel::Answer> start(const kernel::Call& call);
  Result<kernel::Answer> release(const kernel::Call& call);
  Result<kernel::Answer> input(const kernel::Call& call);
  Result<kernel::Answer> signal(const kernel::Call& call);
  Result<kernel::Answer> list(const kernel::Call& call);
  Result<kernel::Answer> get_file(const kernel::Call& call);
  Result<kernel::Answer> clean(const kernel::Call& call);
  Result<kernel::ProcessSpec> spec_from(const nlohmann::json& args) const;
  void ended(const kernel::ProcessInfo& info);

  kernel::Kernel& kernel_;
  Folders folders_;
  std::mutex mutex_;
  std::condition_variable free_;
  std::set<std::string> busy_;  // attempts that something is being started in or cleaned out of
};

}  // namespace mvm::plugins::job
