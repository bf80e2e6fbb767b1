#pragma once
// One run of libraft over one log. Its storage is libraft's own (raft_uv); its messages go through our links.
// Lives on the replica's loop. The traps of libraft 0.15 are met here, each where it bites;
// docs/formats/replica.md lists them.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "handles.h"
#include "mvm/base/result.h"
#include "wire.h"

namespace mvm::replica {

class Consensus {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual bool carry(std::uint64_t to, std::string frame, std::function<void(bool)> sent) = 0;
    virtual std::string apply(std::uint64_t index, std::string_view command) = 0;
    /// Nothing: not now.
    virtual std::optional<std::string> snapshot(std::uint64_t index) = 0;
    virtual bool restore(std::string_view snapshot) = 0;
    virtual void moved() = 0;  ///< state, term, leader, configuration or commit index may have changed
    virtual void failed(Error why) = 0;  ///< it runs no more
    virtual void rolled_back() = 0;      ///< close it and open it again, now
  };
  struct Settings {
    uv_loop_t* loop = nullptr;
    std::filesystem::path log;
    std::uint64_t id = 0;
    std::uint64_t epoch = 0;  ///< the upper half of all its terms
    std::chrono::milliseconds beat{250};
    unsigned snapshot_every = 4096;
  };
  enum class State { kUnavailable, kFollower, kCandidate, kLeader };
  using Applied = std::function<void(bool done, std::uint64_t index, std::string result)>;

  static Result<std::unique_ptr<Consensus>> start(Settings settings, Owner& owner);
  ~Consensus();
  Consensus(const Consensus&) = delete;
  Consensus& operator=(const Consensus&) = delete;
  /// `closed` is called when nothing of it is left on the loop; only then may it be destroyed.
  void close(std::function<void()> closed);

  /// False where this is not the leader, or libraft refused: surely nothing happened. `then` is called later,
  /// not from within.
  bool propose(std::string_view command, Applied then);
  bool barrier(std::function<void(bool)> then);
  enum class Change { kAdd, kStandBy, kVoter, kRemove };
  bool change(Change what, std::uint64_t id, std::function<void(bool)> then);
  void hand_over();  ///< the leader asks another voter to lead

  void deliver(std::uint64_t from, wire::Message message);
  /// The link to a member broke: where that was the leader, no need to wait for its silence to last.
  void lost_link(std::uint64_t id, unsigned rank);

  [[nodiscard]] State state() const;
  [[nodiscard]] std::uint64_t term() const { return raft_.current_term; }
  [[nodiscard]] std::uint64_t leader() const;
  [[nodiscard]] std::uint64_t committed() const { return raft_.commit_index; }
  [[nodiscard]] std::uint64_t applied() const { return raft_.last_applied; }
  [[nodiscard]] std::uint64_t last_index() const;
  [[nodiscard]] std::uint64_t match(
      std::uint64_t id) const;  ///< leader only: how far its log is known to be ours
  [[nodiscard]] std::vector<wire::Server> servers() const;
  [[nodiscard]] bool changing() const;

 private:
  class Inside {
   public:
    explicit Inside(Consensus& of) : count_(of.inside_) { ++count_; }
    ~Inside() { --count_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    unsigned& count_;
  };
  Consensus(Settings settings, Owner& owner) : settings_(std::move(settings)), owner_(owner) {}
  Status open();
  void after();
  void override_storage();
  void fill_machine();
  int cut(raft_index index);
  [[nodiscard]] bool snapshot_pending() const {
    return raft_.snapshot.put.data != nullptr || raft_.snapshot.pending.term != 0;
  }
  [[nodiscard]] bool own_term_stored() const;
  [[nodiscard]] std::uint64_t last_term() const;
  int send(raft_io_send* request, const raft_message* message, raft_io_send_cb done);
  std::string encode(const raft_message& message);
  bool may_deliver(const wire::Message& message) const;
  void deliver_append(std::uint64_t from, const wire::Append& append);
  void deliver_snapshot(std::uint64_t from, const wire::Snapshot& snapshot);
  void receive_message(raft_message& message, std::uint64_t from);
  void hand_in(raft_message& message, std::uint64_t from);

  static Consensus& of(raft_io* io) { return *static_cast<Consensus*>(static_cast<raft*>(io->data)->data); }
  static Consensus& of(raft_fsm* fsm) { return *static_cast<Consensus*>(fsm->data); }

  struct Pending {
    raft_io_send* request = nullptr;
    raft_io_send_cb done = nullptr;
  };

  Settings settings_;
  Owner& owner_;
  raft raft_{};
  raft_io io_{};
  raft_fsm fsm_{};
  raft_uv_transport transport_{};
  struct raft_transfer transfer_ {};
  bool handed_over_ = false;
  raft_io_tick_cb tick_ = nullptr;
  raft_io_recv_cb receive_ = nullptr;
  int (*real_start_)(raft_io*, unsigned, raft_io_tick_cb, raft_io_recv_cb) = nullptr;
  int (*real_append_)(raft_io*, raft_io_append*, const raft_entry*, unsigned, raft_io_append_cb) = nullptr;
  int (*real_truncate_)(raft_io*, raft_index) = nullptr;
  int (*real_snapshot_put_)(raft_io*, unsigned, raft_io_snapshot_put*, const raft_snapshot*,
                            raft_io_snapshot_put_cb) = nullptr;
  void (*real_close_)(raft_io*, raft_io_close_cb) = nullptr;
  struct Append {
    raft_io_append_cb done = nullptr;
    bool after_cut = false;
  };
  struct FailedAppend {
    raft_io_append* request = nullptr;
    raft_io_append_cb done = nullptr;
    int status = 0;
  };
  std::map<raft_io_append*, Append> appends_;
  std::vector<FailedAppend> failed_appends_;
  /// Shared with the links' callbacks, which may outlive this run.
  std::shared_ptr<std::map<std::uint64_t, Pending>> sends_ =
      std::make_shared<std::map<std::uint64_t, Pending>>();
  std::uint64_t next_send_ = 1;
  std::vector<std::uint64_t> refused_;
  std::uint64_t verified_ =
      0;  ///< while entries are handed in: how far the sender's log and ours are known to agree
  std::uint64_t barrier_term_ = 0;
  std::uint64_t barrier_index_ = 0;
  std::vector<std::pair<std::uint64_t, wire::AppendResult>> early_results_;
  bool truncating_ = false;  ///< storage is cutting the log's end, until an append after it is done
  bool reopen_after_cut_ = false;
  bool reopen_ = false;
  bool started_ = false;
  bool closing_ = false;
  unsigned inside_ = 0;  ///< calls into libraft under way
  bool told_failed_ = false;
  std::function<void()> closed_;
  std::string result_;  ///< of the command applied just now
};

}  // namespace mvm::replica
