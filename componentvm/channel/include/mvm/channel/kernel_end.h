#pragma once
// The kernel's end of the guest channel.

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "mvm/channel/message.h"

namespace mvm::channel {

/// Where an event's blob lies until the event is acknowledged, if it is not in the event itself.
struct SpoolPart {
  std::string id;  ///< the spool's name, chosen by whoever keeps it
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
};

/// An event to be told.
struct NewEvent {
  std::string name;
  nlohmann::json args = nlohmann::json::object();
  std::string blob;                ///< at most kPiece bytes
  std::optional<SpoolPart> spool;  ///< instead of `blob`
  std::string mark;  ///< not empty: telling a second event of this mark is no error and does nothing, as long
                     ///< as the first is not acknowledged
  std::string group;  ///< withdraw() drops the events of a group
};

/// An event that a former kernel of this boot told and the host has not acknowledged.
struct PendingEvent {
  std::uint64_t seq = 0;
  std::string name;
  std::string mark;
  std::string group;
  std::optional<SpoolPart> spool;
};

/// The channel, seen from inside the node. It connects for ever. Events are written to a journal before they
/// are sent, so that they survive the death of this process; they are forgotten when the host acknowledged
/// them.
class KernelEnd {
 public:
  struct Options {
    /// "unix:/run/mvm/channel.sock", "virtio:mvm.control.0", or "line:PATH": a UNIX socket behind which lies
    /// a serial line. Empty: there is no host, and Callbacks::alone hears the events.
    std::string address;
    std::string node;                      ///< "LAB/NODE"
    std::string boot;                      ///< drawn by the launcher
    std::filesystem::path journal;         ///< a file; one of another boot is thrown away
    std::chrono::milliseconds redial{50};  ///< doubles up to 40 times it
    std::chrono::milliseconds keep_alive{5000};
    std::size_t remembered = 1024;  ///< answers kept for requests that are sent again
    std::size_t remembered_bytes = 4 << 20;
  };
  /// Called on the channel's thread; must not block for long.
  struct Callbacks {
    /// A request that is new. Answer with reply(), from any thread, once.
    std::function<void(Request)> request;
    /// The bytes of an event, when it is to be sent. Nothing: the spool is gone.
    std::function<std::optional<std::string>(const SpoolPart&)> read_spool;
    /// An event where there is no host: in order, with its blob; acknowledged when this returns.
    std::function<void(const Event&)> alone;
    /// These events are acknowledged; called before they are forgotten.
    std::function<void(const std::vector<PendingEvent>&)> acknowledged;
  };
  [[nodiscard]] static Result<std::unique_ptr<KernelEnd>> open(Options options, Callbacks callbacks);
  ~KernelEnd();
  KernelEnd(const KernelEnd&) = delete;
  KernelEnd& operator=(const KernelEnd&) = delete;

  /// What the journal held when it was opened: to be looked at before start().
  [[nodiscard]] const std::vector<PendingEvent>& recovered() const;
  /// Begins to connect.
  [[nodiscard]] Status start();
  /// Leaves the host and calls back no more; the other calls still work, and what is told is told by the next
  /// one.
  void stop();

  /// Answers a request. Any thread. An unknown id is ignored.
  void reply(const std::string& id, Result<Reply> reply);
  /// Writes the event down; when this returns it will be told even if this process dies. Answers its number,
  /// 0 where its mark is already waiting. Any thread.
  [[nodiscard]] Result<std::uint64_t> tell(NewEvent event);
  /// Forgets the events of a group that were not acknowledged.
  void withdraw(const std::string& group);
  /// Events told and not acknowledged.
  [[nodiscard]] std::size_t pending() const;
  /// True while a host is there.
  [[nodiscard]] bool up() const;

 private:
  struct State;
  explicit KernelEnd(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::channel
