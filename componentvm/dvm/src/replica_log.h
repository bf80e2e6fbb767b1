#pragma once
// The log of a machine as a group of copies, one of which leads: its kernel is the status server.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "mvm/dvm/log.h"

namespace mvm::dvm {

/// Its calls back come where `post` runs what it is given.
class ReplicaLog {
 public:
  struct Options {
    std::string vm;
    std::string kernel;
    std::filesystem::path folder;
    std::string secret;
    std::string host;  ///< address of ours at which the copies reach each other
    std::chrono::milliseconds beat{250};
    std::size_t voters = 5;
    bool founds = false;      ///< the first of a group
    nlohmann::json contacts;  ///< where others are, of a copy that is new
    /// Runs something on the loop; not after the log is gone.
    std::function<void(std::function<void()>)> post;
  };
  [[nodiscard]] static Result<std::unique_ptr<Log>> open(Options options, Log::Hooks hooks);
};

}  // namespace mvm::dvm
