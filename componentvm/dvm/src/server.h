#pragma once
// The status server of a machine: the one kernel that adds to the log. It takes kernels in, hears whether
// they are alive, publishes every event in the log's order, and decides commands. [Harness 000, §2.1 to §2.3]
//
// It holds nothing that is not in the log, except who is connected and what was answered so far: the next one
// asks again.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "connection.h"
#include "mvm/dvm/commit_table.h"
#include "mvm/dvm/log.h"

namespace mvm::dvm {

/// Of one event loop's thread.
class Server {
 public:
  using Clock = std::chrono::steady_clock;
  using Link = std::shared_ptr<Connection>;
  struct Options {
    std::string kernel;                   ///< our own
    std::chrono::milliseconds beat{250};  ///< of a machine of at most kKernelsOfABeat
    std::size_t voters = 5;               ///< kernels that shall hold the log
    Baseline baseline;                    ///< of a machine that is new
  };
  struct Hooks {
    std::function<void(std::string text)> propose;
    /// Where the log can be joined, for a kernel that is to hold it too.
    std::function<nlohmann::json()> log_contacts;
    /// This life of a copy of the log may be over: find out.
    std::function<void(const std::string& kernel, const std::string& address)> suspect;
  };
  Server(Options options, Hooks hooks, const CrashPoint& crash, std::uint64_t term, Record record);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// A message of a connection that proved who it is.
  void take(const Link& link, const nlohmann::json& message);
  /// A connection has ended.
  void closed(const Link& link, const std::string& why);
  /// An event was added to the log.
  void added(const std::string& text);
  /// To be called every quarter of a beat, and before `pause` has passed.
  void tick(Clock::time_point now);
  /// After which somebody may have been silent for too long.
  [[nodiscard]] Clock::duration pause(Clock::time_point now) const { return next_silence_ - now; }
  /// A kernel is known to be dead.
  void dead(const std::string& kernel, const std::string& incarnation);
  [[nodiscard]] const VmStatus& status() const { return record_.status; }

 private:
  struct Session {
    Link link;
    std::string incarnation;
    Clock::time_point heard;
    bool live = false;       // it follows the events
    bool everything = true;  // it follows all services
    std::set<std::string> services;
    std::uint64_t sent = 0;        // number of the last event it was sent
    std::string outbox;            // events that wait, as the inside of an array
    std::uint64_t asked_from = 0;  // the number it said it has
    bool whole = true;             // it wants the whole status
    bool enlisted = false;         // it was asked to hold the log
  };
  struct Question {
    std::weak_ptr<Connection> link;
    std::string id;
  };
  struct Poll {
    std::set<std::string> missing;  // have not answered
    std::size_t able = 0;
    std::map<std::string, std::string> unable;
    std::set<std::string> awaited;  // have not acknowledged the decision
    std::set<std::string> owing;    // were away when it was to be acknowledged
    std::map<std::string, std::string> failed;
    Clock::time_point deadline;
    Clock::time_point proposed;  // when the next step was last proposed
    std::vector<Question> askers;
    bool answered = false;
  };

  void on_join(const Link& link, const nlohmann::json& message);
  void on_vote(const std::string& kernel, const nlohmann::json& message);
  void on_acknowledged(const std::string& kernel, const nlohmann::json& message);
  void on_command(const Link& link, const nlohmann::json& message);
  void on_request(const Link& link, const nlohmann::json& message);
  void on_enlisted(const std::string& kernel, const nlohmann::json& message);
  void propose(const nlohmann::json& event);
  void publish(const Recorded& recorded);
  void append(Session& session, const Recorded& recorded);
  void flush(Session& session);
  void begin_session(const std::string& kernel, Session& session);
  [[nodiscard]] bool follows(const std::string& kernel, const Session& session, const Effects& effects) const;
  void look_at(const std::string& id);
  void answer(const Command& command, Poll& poll);
  void carry_out(const Command& command, std::span<const Effect> effects);
  void start_poll(const Command& command);
  void await_decision(const Command& command, Poll& poll);
  void on_gone(const std::string& kernel);
  void on_again(const std::string& kernel);
  [[nodiscard]] std::string status_for(const std::string& kernel, const Session& session);
  void set_beat(Clock::time_point now);
  void watch_kernels(Clock::time_point now);
  void enlist();
  [[nodiscard]] bool once(const std::string& what);
  [[nodiscard]] bool is_present(const std::string& kernel) const;
  void reply(const Link& link, const std::string& question, const nlohmann::json& answer);

  Options options_;
  Hooks hooks_;
  const CrashPoint& crash_;
  Record record_;
  std::map<std::string, Session> sessions_;
  std::map<std::string, Poll> polls_;
  std::map<std::string, std::vector<Question>> waits_;  // for events, by their text
  std::map<std::string, Clock::time_point> proposed_;   // when: kernels' coming and going
  std::string cached_;                                  // the whole status as text, as of
  std::uint64_t cached_number_ = 0;
  Clock::time_point began_;
  Clock::time_point last_tick_;
  Clock::time_point next_enlist_;
  Clock::time_point next_beat_;
  Clock::time_point next_silence_;
  std::chrono::milliseconds beat_;         // of the machine as it is
  std::chrono::milliseconds former_beat_;  // which some may still keep, until
  Clock::time_point beat_known_;
};

/// What is answered about a command that is decided: verdict, able and unable kernels with reasons.
[[nodiscard]] nlohmann::json answer_of(const Command& command);
/// What is known under a key: status, members, kernel/NAME, services, baseline, commands, states/PLUGIN. [001
/// §3.1: getvminfo]
[[nodiscard]] nlohmann::json info_of(const VmStatus& status, const std::string& key);

}  // namespace mvm::dvm
