#pragma once
// A member: its thread and loop, its ledger on disk, and what it decides from what it knows. Everything below
// the line "on the loop" runs on the replica's thread only.

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "consensus.h"
#include "handles.h"
#include "links.h"
#include "mvm/base/unique_fd.h"
#include "mvm/replica/replica.h"
#include "offline.h"
#include "roster.h"
#include "wire.h"

namespace mvm::replica {

class Core final : public Replica, private Links::Owner, private Consensus::Owner {
 public:
  Core(Options options, StateMachine& machine, Callbacks callbacks);
  ~Core() override;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  Status begin();

  Status bootstrap(const std::vector<Member>& members) override;
  Status join(const std::vector<Member>& contacts) override;
  void propose(std::string command, Done done, std::chrono::milliseconds limit) override;
  void barrier(DoneStatus done, std::chrono::milliseconds limit) override;
  void confirm_death(Life life) override;
  void confirm_lost(std::uint64_t id) override;
  void leave(DoneStatus done) override;
  Member self() const override { return options_.self; }
  Info info() const override;
  std::vector<MemberState> members() const override;
  void post(std::function<void()> call) override;
  void stop() override;

 private:
  struct Peer {
    bool known = false;  ///< its state has come
    wire::State state;
    std::uint64_t promised = 0;
    bool lost = false;
  };
  struct Proposal {
    std::string command;
    bool reads = false;
    Done done;
    std::uint64_t deadline = 0;
    std::uint64_t sent_to = 0;  ///< 0: waits for a leader
  };
  using Ordered = std::function<void(Result<Applied>)>;
  struct Held {
    std::uint64_t index = 0;
    std::string result;
    Ordered then;
  };
  struct Attempt {
    std::uint64_t id = 0;
    std::vector<std::uint64_t> members;
    std::map<std::uint64_t, wire::Promise> promises;
    std::uint64_t next_call = 0;
  };

  // On the loop: life of the thread. core.cpp
  void run(const std::function<void(Status)>& ready);
  Status open_folder();
  Status call_in(std::function<Status()> call);
  void drain_posts();
  void shut_down();
  void finish_shut_down();
  void evaluate();
  void publish();
  bool save();
  void end(Error why);
  [[nodiscard]] std::uint64_t now() const { return uv_now(&loop_); }
  [[nodiscard]] std::uint64_t id() const { return options_.self.id; }
  [[nodiscard]] std::filesystem::path log_folder() const { return options_.folder / "log"; }

  // Links. links' owner; core.cpp
  wire::Hello greeting(std::uint64_t wanted) override;
  wire::Verdict greeted(const wire::Hello& hello) override;
  void received(std::uint64_t from, wire::Message message) override;
  void up(std::uint64_t id) override;
  void down(std::uint64_t id) override;
  void refused(std::uint64_t id, wire::Verdict verdict) override;
  wire::State own_state() const;
  void tell_all();

  // Who belongs. membership.cpp
  void take_state(std::uint64_t from, wire::State state);
  void merge_state(const wire::State& state);
  void apply_facts();
  void consider(std::uint64_t from, const wire::State& state);
  void adopt(const std::vector<wire::Decision>& decisions, bool keep);
  [[nodiscard]] bool excluded(std::uint64_t id) const;
  void keep_links();
  void try_to_act();
  void run_or_stop_raft();
  Status start_raft();
  void stop_raft();
  void upkeep();
  [[nodiscard]] std::uint64_t epoch() const {
    return ledger_.decisions.empty() ? 0 : ledger_.decisions.back().epoch;
  }
  [[nodiscard]] bool same_epoch(std::uint64_t id) const;

  // Recovery from a lost majority. recovery.cpp
  [[nodiscard]] std::optional<bool> majority_lost() const;
  void recover();
  void thaw_all(std::uint64_t attempt);
  void frozen();
  void decide();
  void on_freeze(std::uint64_t from, const wire::Freeze& freeze);
  void on_promise(std::uint64_t from, const wire::Promise& promise);
  void on_thaw(std::uint64_t from, const wire::Thaw& thaw);

  // Commands. proposals.cpp
  void take(Proposal proposal);
  void dispatch();
  void expire();
  void fail_all(const Error& why);
  void fail_sent_to(std::uint64_t to, const Error& why);
  void order(std::string_view command, bool reads, Ordered then);
  void order_read(Ordered then);
  void start_reads();
  [[nodiscard]] bool held_by_all_in_touch(std::uint64_t index) const;
  void release_held();
  void answer(std::uint64_t request, Result<Applied> result);
  void finish_reads();
  void on_propose(std::uint64_t from, const wire::Propose& propose);
  void on_answer(std::uint64_t from, const wire::Answer& answer);
  void watch_leader();

  // Consensus' owner.
  bool carry(std::uint64_t to, std::string frame, std::function<void(bool)> sent) override;
  std::string apply(std::uint64_t index, std::string_view command) override;
  std::optional<std::string> snapshot(std::uint64_t index) override;
  bool restore(std::string_view snapshot) override;
  void moved() override;
  void failed(Error why) override;
  void rolled_back() override;

  Options options_;
  StateMachine& machine_;
  Callbacks callbacks_;
  std::thread thread_;
  std::atomic<bool> stopped_{false};
  std::atomic<std::size_t> waiting_{0};
  std::atomic<std::size_t> waiting_bytes_{0};

  mutable std::mutex mutex_;  // guards the four that follow
  std::deque<std::function<void()>> posts_;
  Info info_;
  std::vector<MemberState> members_;
  bool accepts_posts_ = false;

  // ---- on the loop
  uv_loop_t loop_{};
  uv_async_t wake_{};
  uv_timer_t timer_{};
  UniqueFd lock_;
  std::unique_ptr<Links> links_;
  std::unique_ptr<Consensus> raft_;
  bool raft_closing_ = false;
  bool reopen_ = false;
  bool shutting_down_ = false;
  std::optional<Error> ended_;

  wire::Ledger ledger_;  // its roster is in roster_
  Roster roster_;
  bool joining_ = false;
  std::vector<Member> contacts_;
  bool active_ = false;
  std::map<std::uint64_t, Peer> peers_;
  std::map<std::uint64_t, std::uint64_t> facts_;  ///< deaths told, not yet in the roster: id, life
  std::vector<wire::Server> servers_;             ///< of the last configuration seen in the log
  std::uint64_t next_ping_ = 0;
  DoneStatus left_;
  std::uint64_t leave_deadline_ = 0;

  Attempt attempt_;
  std::optional<wire::Promise> promise_;  ///< the log's end, for ledger_.promised

  std::string pristine_;
  std::uint64_t machine_applied_ = 0;

  std::map<std::uint64_t, Proposal> proposals_;
  std::deque<std::uint64_t> queue_;
  std::uint64_t next_request_ = 1;
  std::deque<Held> held_;
  bool read_running_ = false;
  std::vector<Ordered> next_reads_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> reads_;  ///< index to be applied here first, request
  std::uint64_t told_leader_ = 0;
  std::uint64_t told_term_ = 0;
  bool ready_ = false;  ///< leads, and has applied all that was committed before
  std::uint64_t ready_term_ = 0;
};

}  // namespace mvm::replica
