#pragma once
// The kernel's side of MVM_FD: gives a process its wiring table and its queues when it attaches.
// The packets are in docs/formats/wiring.md.

#include <cstdint>
#include <functional>
#include <utility>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/wiring.h"

namespace mvm::queuevm {

/// Serves one process's attach socket. No thread of its own: the owner polls fd() and calls on_readable().
class AttachServer {
 public:
  /// Opens the process's queue descriptor number n afresh (Queue::open_descriptor): each call a new
  /// description.
  using OpenQueue = std::function<Result<UniqueFd>(std::uint32_t descriptor)>;

  /// A connected pair: (the server's end, the process's end). Pass the second on under the number named in
  /// the child's environment variable MVM_FD; both are close-on-exec until then.
  [[nodiscard]] static Result<std::pair<UniqueFd, UniqueFd>> make_sockets();

  /// `wiring` outlives the server.
  AttachServer(UniqueFd socket, const WiringTable& wiring, OpenQueue open_queue);

  /// Poll for POLLIN; then call on_readable().
  [[nodiscard]] int fd() const { return socket_.get(); }
  /// Answers one request, without blocking for the peer. kUnavailable: the process closed its end (it ended
  /// or detached); kCorrupt: it sent what is no request, stop serving it.
  Status on_readable();
  /// True once the process has attached.
  [[nodiscard]] bool attached() const { return attached_; }

 private:
  Status answer(std::uint32_t first_descriptor);
  UniqueFd socket_;
  const WiringTable& wiring_;
  OpenQueue open_queue_;
  bool attached_ = false;
};

}  // namespace mvm::queuevm
