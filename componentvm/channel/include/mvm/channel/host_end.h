#pragma once
// The host's end of one node's guest channel. The node is not trusted: whatever it sends, this end stays
// within its bounds, and the worst that follows is that this node's channel is cut.

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mvm/channel/message.h"

namespace mvm::channel {

/// How far the host has got: kept by the caller if it must survive the caller's own restart.
struct Position {
  std::string boot;         ///< empty: no boot of this node was ever seen
  std::uint64_t after = 0;  ///< the last event of that boot which was handled
};

/// A node's channel, seen from the host. It connects or listens by itself and for ever; requests that had no
/// answer when the connection broke are sent again; every event is handled in order and exactly once.
class HostEnd {
 public:
  enum class Way {
    kListen,   ///< make the UNIX socket `path` and let the kernel connect (LXC, process)
    kConnect,  ///< connect to the UNIX socket `path` of QEMU's character device: a serial line
    kGiven,    ///< use the connected socket `given`; once it is closed the channel is lost for good
  };
  struct Options {
    Way way = Way::kListen;
    std::filesystem::path path;
    UniqueFd given;
    std::string node;                   ///< "LAB/NODE"; a kernel that says another name is refused
    std::optional<unsigned> peer_user;  ///< kListen: only a peer of this uid is accepted, and the socket file
                                        ///< is given to it (LXC: osvm::kFirstGuestId; process: our own)
    Position position;                  ///< where an earlier host daemon got to
    std::chrono::milliseconds redial{100};       ///< pause before connecting again; doubles up to 20 times it
    std::chrono::milliseconds keep_alive{5000};  ///< ping after this much silence
    std::size_t max_calls = 512;                 ///< calls waiting for an answer; more are kExhausted
  };
  /// Called one at a time, on a thread of this object; they may call().
  struct Callbacks {
    /// Handle the event durably. Success acknowledges it; after an error the same event is offered again
    /// later, and none after it before.
    std::function<Status(const Event&)> event;
    /// A session began; `boot` differs from the last one's where the node was booted again, and then all
    /// calls that had no answer have failed with kAborted. May be null.
    std::function<void(const std::string& boot)> up;
    /// The connection broke or the kernel went; the node may be well. May be null.
    std::function<void(const Error& why)> lost;
  };
  /// Fails where the socket cannot be made (kListen); never because the kernel is not there yet.
  [[nodiscard]] static Result<std::unique_ptr<HostEnd>> start(Options options, Callbacks callbacks);
  /// Ends all calls with kCancelled, joins the threads, removes the socket file (kListen).
  ~HostEnd();
  HostEnd(const HostEnd&) = delete;
  HostEnd& operator=(const HostEnd&) = delete;

  /// Asks the kernel and waits for the answer. Any thread; many at once. The time includes waiting for the
  /// kernel to be there. kTimeout (the kernel may still do it), what give_up() was told, kAborted (booted
  /// again meanwhile), kCancelled (this object ends), kExhausted (too many calls), kUnsupported (descriptors
  /// on a serial line), kInvalid (too large), or the kernel's own error. `descriptors` are duplicated: the
  /// caller keeps its own.
  [[nodiscard]] Result<Reply> call(const std::string& op, const nlohmann::json& args,
                                   std::chrono::milliseconds timeout, std::string blob = {},
                                   const std::vector<int>& descriptors = {});

  /// The node is known to be gone: every call that waits, and every later one, fails at once with `why`.
  /// Events that had arrived are still handled. The first reason stays. Any thread.
  void give_up(Error why);

  /// True while a session is up.
  [[nodiscard]] bool up() const;
  /// Waits for a session; answers the boot. kTimeout, with what was last seen.
  [[nodiscard]] Result<std::string> wait_up(std::chrono::milliseconds timeout) const;
  /// The last event handled.
  [[nodiscard]] Position position() const;
  /// When the kernel was last heard (any frame); silence alone proves nothing.
  [[nodiscard]] std::chrono::steady_clock::time_point last_heard() const;

 private:
  struct State;
  explicit HostEnd(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::channel
