#pragma once
// resources.*: the resource manager that comes with the kernel. It finds what a name (URN) means in several
// local and remote repositories, for this architecture, and builds what is there as source only. [Harness
// 000, §2.3]

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mvm/kernel/plugin.h"
#include "mvm/repository/fetcher.h"

namespace mvm {
struct PluginWish;
}

namespace mvm::plugins::resources {

/// Thread-safe.
class Resources {
 public:
  explicit Resources(kernel::Kernel& kernel) : kernel_(kernel) {}
  [[nodiscard]] Status offer();

 private:
  /// What went wrong so far, of everything that was tried.
  struct Tried;

  Result<kernel::Answer> resolve(const kernel::Call& call);
  [[nodiscard]] std::vector<repository::Entry> candidates(const std::vector<repository::Entry>& entries,
                                                          const PluginWish& wish) const;
  Result<std::string> bring(const std::string& base, const repository::Entry& entry);
  Result<std::string> build(const std::string& base, const repository::Entry& source);
  Result<nlohmann::json> run_build(const std::string& key, const repository::Entry& source);
  Result<std::string> keep_built(const nlohmann::json& outcome, const repository::Entry& source);
  Status fetch_source(const std::string& base, const repository::Entry& source) const;

  kernel::Kernel& kernel_;
  std::optional<repository::Fetcher> fetcher_;
  std::atomic<int> building_ = 0;
  std::mutex build_mutex_;
};

}  // namespace mvm::plugins::resources
