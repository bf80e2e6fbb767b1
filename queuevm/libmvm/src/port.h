// SPDX-License-Identifier: Apache-2.0
#pragma once
// A port: one handle over the links that the wiring table gives it.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mvm.h"
#include "ring/claims_quick.h"
#include "ring/wait.h"
#include "wire.h"

namespace mvm::lib {

struct Link {
  std::uint64_t id = 0;
  ring::End end;
  bool ended = false;                // in: nothing comes any more
  bool dead = false;                 // ... because a producer died
  std::vector<std::uint64_t> after;  // in: links of this port that must have ended before
};

/// Whose call it is. A thread's address is not another's as long as it lives.
inline const void* this_thread() {
  static thread_local char tag __attribute__((tls_model("initial-exec")));
  return &tag;
}

/// What a new wiring wants of a port, until the port's own thread, or nobody, is in it.
struct NewLinks {
  unsigned deliver = 0;
  std::vector<wire::Link> links;
  std::vector<std::pair<std::uint64_t, int>> descriptors;  // of those it has not joined yet; owned
};

using ring::kAgain;

/// Whether a consumer that has caught up with a stream looks away for half a microsecond. If both look at the
/// same cache line all the time it travels for every message; if the producer gets a few lines ahead it
/// travels once. Where that does not fill the queue (a lone message, a question that waits for its answer),
/// it is tried ever more seldom.
class Linger {
 public:
  static constexpr int kWorthIt = 4;  // messages that must have come meanwhile
  /// Looks away, if it is time to. True: tell learn() what came of it.
  bool now() {
    if (++empty_ < every_) return false;
    empty_ = 0;
    for (int i = 0; i < kPauses; ++i) ring::pause_cpu();
    return true;
  }
  void learn(bool worth_it) { every_ = worth_it ? 1 : every_ < kSeldom ? every_ * 2 : kSeldom; }

 private:
  static constexpr int kPauses = 16;
  static constexpr unsigned kSeldom = 8192;
  unsigned every_ = 16;
  unsigned empty_ = 0;
};

/// One thread at a time.
class Port {
 public:
  Port(std::string name, std::uint32_t index, bool out, unsigned deliver)
      : name_(std::move(name)), index_(index), out_(out), deliver_(deliver) {}
  ~Port() { drop_next(); }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /// True where the calling thread used this port last, and its links are what the wiring says.
  [[nodiscard]] bool ready() const {
    return owner_ == this_thread() && interrupt_.word->load(std::memory_order_acquire) == interrupt_.value;
  }

  // ---- rewiring: under the job's lock
  [[nodiscard]] const void* owner() const { return owner_; }
  void own() { owner_ = this_thread(); }
  [[nodiscard]] bool joined(std::uint64_t link) const;
  /// What the next adopt() shall bring about; an earlier one that was not adopted is forgotten.
  void expect(NewLinks next);
  /// Joins and leaves links accordingly: by the port's own thread, or where no thread used it. What could not
  /// be joined is told by take_trouble().
  void adopt(const ring::Interrupt& interrupt);
  /// True where links came or went since it was asked last; one that had ended does not count.
  bool take_changed() { return std::exchange(changed_, false); }
  /// MVM_OK, or why the last adopt() failed.
  int take_trouble(std::string& why);

  int enqueue(const void* data, std::size_t size, const mvm_opts& opts);
  std::int64_t dequeue(void* buffer, std::size_t capacity, const mvm_opts& opts);
  std::int64_t next_size();
  int reserve(std::size_t size, void** data, const mvm_opts& opts);
  int commit(std::size_t size);
  int cancel();
  std::int64_t peek(const void** data, const mvm_opts& opts);
  int release();
  int done();
  void close(ring::SlotState how);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint32_t index() const { return index_; }
  [[nodiscard]] bool out() const { return out_; }
  [[nodiscard]] bool closed() const { return closed_; }
  [[nodiscard]] std::vector<std::unique_ptr<Link>>& links() { return links_; }
  /// True as long as a link must wait for the end of another of this port.
  bool waits_for_others(Link& link);
  [[nodiscard]] const mvm_info& last() const { return last_; }
  /// What ends a waiting besides the queues: the wiring's generation. MVM_REWIRED is returned then.
  [[nodiscard]] const ring::Interrupt& interrupt() const { return interrupt_; }
  /// After its links changed: puts them in the order in which every-one takes room, so that two producers
  /// never wait for each other, and finds out whether there is a short way.
  void settle();
  /// The short ways, where the port's one link is a stream: for calls without options. False, or negative:
  /// take the long way.
  bool quick_enqueue(const void* data, std::size_t size) {
    return quick_out_ != nullptr && quick_out_->quick_put(data, size);
  }
  std::int64_t quick_dequeue(void* buffer, std::size_t capacity) {
    return quick_in_ != nullptr ? quick_in_->quick_get(buffer, capacity) : kAgain;
  }
  /// The same where the port's one link is a claim queue.
  bool claims_enqueue(const void* data, std::size_t size) {
    return claims_out_ != nullptr && claims_out_->claims_quick_put(data, size);
  }
  std::int64_t claims_dequeue(void* buffer, std::size_t capacity) {
    if (claims_in_ == nullptr || peeked_ != nullptr) return kAgain;
    last_.key = 0;
    last_.priority = 0;
    last_.flags = 0;
    return claims_in_->claims_quick_get(buffer, capacity);
  }
  /// Spins and yields for a message of a stream before a longer wait; as quick_dequeue() then.
  std::int64_t await_dequeue(void* buffer, std::size_t capacity);

 private:
  std::int64_t wait_of(const Link& link, const mvm_opts& opts) const;
  Link& by_key(std::uint64_t key);
  int put_one(Link& link, const void* data, std::size_t size, const mvm_opts& opts);
  int put_large(Link& link, const void* data, std::size_t size, std::int64_t wait_ns);
  int put_any(const void* data, std::size_t size, const mvm_opts& opts);
  int reserve_every(std::size_t size, const mvm_opts& opts);
  int commit_every(std::size_t size, const void* data);
  int commit_link(Link& link, std::size_t size);
  void cancel_every();
  std::int64_t get_rest(Link& link, ring::View view, void* buffer);
  std::int64_t get_grown(Link& link, const ring::View& view, void* buffer);
  template <class Step>
  std::int64_t from_any(Step step, std::int64_t wait_ns);
  std::int64_t ended_result() const;
  void note(const ring::View& view);
  void drop_next();
  int join_link(const wire::Link& link, std::string& why);
  void leave(std::unique_ptr<Link> link);
  void leave_parted();

  /// How often the short way hands its core to others before the long one looks at all that may end a wait.
  static constexpr int kQuickYields = 20;

  std::string name_;
  std::uint32_t index_;
  bool out_;
  unsigned deliver_;
  bool closed_ = false;
  ring::End* quick_out_ = nullptr;
  ring::End* quick_in_ = nullptr;
  ring::End* claims_out_ = nullptr;
  ring::End* claims_in_ = nullptr;
  std::vector<std::unique_ptr<Link>> links_;
  std::size_t turn_ = 0;
  ring::Spin spin_;
  Linger linger_;
  ring::Interrupt interrupt_;
  mvm_info last_{sizeof(mvm_info), 0, 0, 0};
  // rewiring
  const void* owner_ = nullptr;  // the thread that used it last; written under the job's lock
  std::unique_ptr<NewLinks> next_;
  bool changed_ = false;
  int trouble_ = MVM_OK;
  std::string why_;
  std::vector<std::unique_ptr<Link>> parted_;  // links that are gone, with something reserved or peeked
  // in place
  std::vector<std::pair<Link*, std::byte*>> held_;  // reservations
  std::uint32_t held_priority_ = 0;
  std::uint64_t held_key_ = 0;
  std::size_t held_size_ = 0;
  Link* peeked_ = nullptr;
  std::uint64_t peeked_token_ = 0;
};

/// mvm_wait.
std::int64_t wait_ports(Port* const* ports, std::size_t count, std::int64_t wait_ns);

}  // namespace mvm::lib
