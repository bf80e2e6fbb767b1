#pragma once
// One thread that answers all processes which attach.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/attach_server.h"

namespace mvm::plugins::queue {

/// Serves attach sockets until their process closes them. Thread-safe.
class AttachLoop {
 public:
  /// `attached` is called on the loop's thread once a process has all it needs.
  using Attached = std::function<void()>;
  [[nodiscard]] static Result<std::unique_ptr<AttachLoop>> start();
  ~AttachLoop();
  AttachLoop(const AttachLoop&) = delete;
  AttachLoop& operator=(const AttachLoop&) = delete;

  /// Serves a process; a former server of that name is gone when this returns.
  void add(const std::string& name, std::unique_ptr<queuevm::AttachServer> server, Attached attached);
  /// Forgets it; nothing of it is called afterwards.
  void remove(const std::string& name);
  /// Does something while no process is answered: the tables that the answers are made of may change.
  template <class Work>
  auto between_answers(Work work) {
    const std::lock_guard lock(mutex_);
    return work();
  }

 private:
  struct Served {
    std::unique_ptr<queuevm::AttachServer> server;
    Attached attached;
    bool told = false;
  };
  AttachLoop() = default;
  void run();
  void serve(const std::string& name);

  UniqueFd wake_;
  std::mutex mutex_;  // held while a server answers
  bool ending_ = false;
  std::map<std::string, Served> served_;
  std::thread thread_;
};

}  // namespace mvm::plugins::queue
