#pragma once
// build.*: source in, archive of binaries out.

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "mvm/kernel/plugin.h"

namespace mvm::plugins::builder {

/// The builds of this node. Thread-safe.
class Builds {
 public:
  explicit Builds(kernel::Kernel& kernel) : kernel_(kernel), folder_(kernel.config().work / "builds") {}
  [[nodiscard]] Status offer();

 private:
  Result<kernel::Answer> start(const kernel::Call& call);
  Result<kernel::Answer> cancel(const kernel::Call& call);
  Result<kernel::Answer> wait(const kernel::Call& call);
  Result<kernel::ProcessSpec> spec_from(const std::string& key, const nlohmann::json& args) const;
  Status prepare(const std::string& key, const std::string& source) const;
  void ended(const kernel::ProcessInfo& info);
  nlohmann::json outcome(const kernel::ProcessInfo& info, const std::string& key);
  void ended_here(const kernel::ProcessInfo& info, nlohmann::json outcome, const std::string& key);
  void clear_leftovers() const;

  kernel::Kernel& kernel_;
  std::filesystem::path folder_;
  std::mutex mutex_;  // starting: one at a time
  std::mutex outcomes_mutex_;
  std::condition_variable outcome_known_;
  std::map<std::string, nlohmann::json> outcomes_;  // of builds that were asked for within this node
};

}  // namespace mvm::plugins::builder
