#pragma once
// The kernel's side of the socket to its launcher.

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mvm/base/frame.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::kernel {

/// Asks the launcher and hears its notices. Any thread may ask; each call blocks until it is answered.
class LauncherClient {
 public:
  /// Called on the reading thread: a notice ("output", "exit"), and the loss of the launcher. Neither may
  /// ask.
  struct Callbacks {
    std::function<void(const nlohmann::json&)> notice;
    std::function<void()> lost;
  };
  explicit LauncherClient(UniqueFd socket) : socket_(std::move(socket)) {}
  ~LauncherClient();
  LauncherClient(const LauncherClient&) = delete;
  LauncherClient& operator=(const LauncherClient&) = delete;

  /// Begins to read.
  void start(Callbacks callbacks);

  /// The answer's "result", with its descriptors. kUnavailable where the launcher is gone.
  [[nodiscard]] Result<Frame> ask(const std::string& op, nlohmann::json args, std::string_view blob = {},
                                  const std::vector<int>& descriptors = {});

 private:
  void read();
  UniqueFd socket_;
  Callbacks callbacks_;
  std::thread thread_;
  std::mutex write_mutex_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::map<std::uint64_t, std::optional<Frame>> waiting_;
  std::uint64_t next_ = 1;
  bool lost_ = false;
};

}  // namespace mvm::kernel
