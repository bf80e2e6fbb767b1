#pragma once
// A kernel's side of the machine: it finds the status server, joins, says that it is alive, follows the
// events it chose, and asks for what its users want. [Harness 000, §2.2]

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "connection.h"
#include "mvm/dvm/address.h"
#include "mvm/dvm/status.h"
#include "participant.h"

namespace mvm::dvm {

/// Of one event loop's thread.
class Follower {
 public:
  using Link = std::shared_ptr<Connection>;
  using Clock = std::chrono::steady_clock;
  using Answer = std::function<void(Result<nlohmann::json>)>;
  struct Hooks {
    /// Connects to an address; `done` gets a connection that has proved who it is, or null.
    std::function<void(const Endpoint& to, std::function<void(Link)> done)> dial;
    /// Asks whoever is out there, by multicast.
    std::function<void()> call_out;
    /// Where the status server may be, best first.
    std::function<std::vector<Endpoint>()> candidates;
    /// Loads what the status kept for this kernel had as of event `number`, and unloads what it was to be
    /// without; `done` gets the services that are there now.
    std::function<void(const Member& old, const std::set<std::string>& unload, std::uint64_t number,
                       std::function<void(std::map<std::string, Service>)> done)>
        restore;
    /// This kernel is to hold the log: where it can be joined.
    std::function<void(const nlohmann::json& contacts)> enlist;
    /// The kernel belongs to the machine now, again, or no longer (why).
    std::function<void()> joined;
    std::function<void(const std::string& why)> out;
    std::function<void()> halt;
  };
  Follower(Member self, Hooks hooks);
  ~Follower();
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  void set_participant(Participant* participant) { participant_ = participant; }
  /// Seeks the server from now on.
  void start();
  /// A connection that somebody else made to us turned out to be the server's.
  void adopt(const Link& link, const nlohmann::json& message);
  /// That connection has ended.
  void closed(const Link& link, const std::string& why);
  /// A message of a connection; false where it is not the server's.
  bool take(const Link& link, const nlohmann::json& message);
  /// Every beat, or more often.
  void tick(Clock::time_point now);

  /// Has a command carried out; again, until it is answered, by whichever server there is.
  void command(const Command& command, std::chrono::milliseconds patience, Answer done);
  /// Asks the server for something that may be repeated.
  void request(nlohmann::json request, std::chrono::milliseconds patience, Answer done);
  /// To the server, if there is one.
  void send(const nlohmann::json& message);
  /// Chooses what to follow. [§2.2: "the set of services it is interested in"]
  void follow(bool everything, std::vector<std::string> services);
  /// Likewise, before start().
  void choose(std::vector<std::string> services) {
    everything_ = false;
    services_ = std::move(services);
  }

  [[nodiscard]] const VmStatus& view() const { return view_; }
  [[nodiscard]] const Member& self() const { return self_; }
  [[nodiscard]] bool live() const { return state_ == State::kLive; }
  [[nodiscard]] const std::string& reason() const { return reason_; }
  [[nodiscard]] bool seeking() const { return state_ == State::kSeeking; }
  /// How often all candidates were tried in vain.
  [[nodiscard]] unsigned rounds() const { return rounds_; }
  /// True once any kernel of the machine has answered.
  [[nodiscard]] bool met() const { return met_; }
  [[nodiscard]] std::chrono::milliseconds beat() const { return beat_; }
  /// The last events, as {number, event}.
  [[nodiscard]] const std::deque<nlohmann::json>& events() const { return events_; }
  void set_copy(std::uint64_t copy, std::uint64_t life);

 private:
  enum class State { kIdle, kSeeking, kJoining, kLive, kOut };
  struct Question {
    nlohmann::json message;
    Clock::time_point deadline;
    Clock::time_point sent;
    Answer done;
  };
  void seek();
  void use(const Link& link);
  void join(std::uint64_t restored_at);
  void take(const nlohmann::json& message);
  void lost(const std::string& why);
  void on_events(const nlohmann::json& message);
  void on_status(const nlohmann::json& message);
  void on_refused(const nlohmann::json& message);
  void became_live();
  void answer(const std::string& id, Result<nlohmann::json> answer);

  Member self_;
  Hooks hooks_;
  Participant* participant_ = nullptr;
  State state_ = State::kIdle;
  Link link_;
  VmStatus view_;
  std::uint64_t last_ = 0;  // number of the last event that was sent to us
  bool complete_ = false;   // the view is whole as of last_
  bool everything_ = true;
  std::vector<std::string> services_;
  std::deque<nlohmann::json> events_;
  std::map<std::string, Question> questions_;
  std::string reason_;  // why we are not live
  std::size_t next_candidate_ = 0;
  unsigned rounds_ = 0;
  bool met_ = false;
  bool dialling_ = false;
  std::string redirect_;
  std::chrono::milliseconds beat_{250};
  Clock::time_point next_seek_, last_said_, last_heard_, last_tick_;
  std::uint64_t next_question_ = 1;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace mvm::dvm
