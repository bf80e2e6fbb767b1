#pragma once
// The ends of open ports' queues: what clients outside the lab put in and take out [MVM 003, §2.2].
// docs/formats/guest-channel.md, wire.put and wire.take; the guarantees are in docs/queues.md.

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "mvm/kernel/plugin.h"
#include "mvm/queuevm/hand_out.h"
#include "mvm/queuevm/queue.h"

namespace mvm::plugins::queue {

/// A queue into which clients put messages. Thread-safe.
class Intake {
 public:
  explicit Intake(queuevm::Producer producer);

  /// wire.put: messages from `blob`, and closing.
  [[nodiscard]] Result<nlohmann::json> put(const nlohmann::json& args, const std::string& blob);
  /// No message will come.
  void close(queuevm::EndState how);

 private:
  struct Client {
    std::uint64_t accepted = 0;  ///< of its messages
    Clock::Instant heard;
  };
  struct Batch;
  [[nodiscard]] Status enter(const Batch& batch);
  [[nodiscard]] Status put_all(const Batch& batch, const std::string& blob, std::string& end);
  [[nodiscard]] std::string ticket() const;
  void make_room();

  std::mutex mutex_;
  queuevm::Producer producer_;
  const std::string life_;  ///< of this object: a restarted kernel has forgotten its clients
  std::map<std::string, Client> clients_;
  bool closed_ = false;
};

/// A queue out of which clients take messages. Thread-safe.
class Outlet {
 public:
  Outlet(queuevm::Consumer consumer, const Clock& clock);

  /// wire.take: acknowledges, and answers the next messages.
  [[nodiscard]] Result<kernel::Answer> take(const nlohmann::json& args);
  /// wire.rest: a page of what was not acknowledged. Nothing is taken or acknowledged from here on.
  [[nodiscard]] Result<kernel::Answer> rest(const nlohmann::json& args);
  void close(queuevm::EndState how);

 private:
  struct Page;
  struct Request;
  [[nodiscard]] Status settle(const Request& request);
  [[nodiscard]] Status fetch();
  [[nodiscard]] Status fill(Page& page, const Request& request);
  void wait(std::unique_lock<std::mutex>& lock, Clock::Instant until);

  const Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  queuevm::Consumer consumer_;
  queuevm::Waiter waiter_;
  bool polling_ = false;  ///< somebody waits at the queue, without the mutex: nobody else may use consumer_
  bool frozen_ = false;
  std::string end_;  ///< "done", "dead": nothing more will come
  queuevm::HandOut hand_out_;
};

}  // namespace mvm::plugins::queue
