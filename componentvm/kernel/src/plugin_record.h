#pragma once
// Which plug-ins users had this kernel load, and what they made its thread pool, on disk, so that a kernel
// that is started again has the same. [Harness 000, §2.3; Engelmann & Geist, lightweight kernel, §2.1: the
// launcher outlives the kernel]

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/thread_pool.h"
#include "mvm/kernel/plugin.h"

namespace mvm::kernel {

/// One loading that a user asked for and did not undo.
struct KeptPlugin {
  std::string locator;  ///< a wish of the preset folder, or what lies in the plug-in cache
  std::string asked;    ///< as the user said it
  Sharing sharing = Sharing::kEveryone;
};

/// The file of one boot of a node: what another boot left counts for nothing.
class PluginRecord {
 public:
  struct Content {
    std::vector<KeptPlugin> plugins;  ///< in the order of their loading
    /// While they are loaded again: which of them is about to start, and how often it was tried.
    std::size_t at = 0;
    unsigned tries = 0;
    std::optional<ThreadPoolLimits> pool;  ///< nothing: as the kernel was told when it was started
  };
  PluginRecord(std::filesystem::path file, std::string boot)
      : file_(std::move(file)), boot_(std::move(boot)) {}
  /// Nothing where this boot has written none.
  [[nodiscard]] std::optional<Content> read() const;
  /// Durable when it returns.
  [[nodiscard]] Status write(const Content& content) const;

 private:
  std::filesystem::path file_;
  std::string boot_;
};

}  // namespace mvm::kernel
