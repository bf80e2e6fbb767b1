#pragma once
// Serving protocols in which a connection carries one call at a time: a thread for each connection.

#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

#include "mvm/base/unique_fd.h"

namespace mvm::rmix::sockets {

/// Accepts connections at a listening socket, at most `most` at a time, and runs `serve` on a thread for
/// each. The destructor lets each end the call that it serves: nothing more can be read from its socket then.
class Callers {
 public:
  /// Serves one connection to its end. The socket is non-blocking; it is closed afterwards.
  using Serve = std::function<void(int socket)>;
  Callers(UniqueFd listener, std::size_t most, Serve serve);
  ~Callers();
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;

 private:
  struct Caller {
    UniqueFd socket;
    std::thread thread;
    bool over = false;
  };
  void accept_all();
  void add(UniqueFd socket);
  void reap();

  Serve serve_;
  std::size_t most_;
  UniqueFd listener_;
  UniqueFd stop_;
  std::mutex mutex_;  // of the callers' sockets and ends
  std::list<Caller> callers_;
  std::thread thread_;
};

}  // namespace mvm::rmix::sockets
