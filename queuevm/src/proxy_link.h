#pragma once
// The two halves of a carried link. They know queues and frames, nothing of sockets; the proxy's loop calls
// them on one thread and moves the bytes they append.

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "link_frames.h"
#include "mvm/queuevm/codec.h"
#include "mvm/queuevm/proxy.h"
#include "out_bytes.h"
#include "ring/end.h"

namespace mvm::queuevm::link {

/// Why a half ended by its codecs, until it was told.
class Failure {
 public:
  void set(std::uint64_t link, const CodecChain& codecs, const Place& place, const Error& why);
  /// Nothing, or the failure, once.
  [[nodiscard]] std::optional<LinkFailure> take() { return std::exchange(untold_, std::nullopt); }
  [[nodiscard]] const std::string& why() const { return why_; }

 private:
  std::optional<LinkFailure> untold_;
  std::string why_;
};

/// Takes messages from a queue here and keeps them there until the other domain has them.
class OutHalf {
 public:
  OutHalf(std::uint64_t link, ring::End end, CodecChain codecs = {});

  /// A connection came up (everything unacknowledged is offered again) or broke.
  void connected();
  void disconnected() { opened_ = false; }
  Status on_open(const Open& open);
  Status on_ack(const Place& next);
  void on_stop(bool dead);
  /// Takes what the window allows. True where something was taken or the stream ended.
  Result<bool> take();
  /// Appends frames until `out` holds `limit` bytes; long payloads are lent from the queue. True where
  /// something was appended.
  bool emit(OutBytes& out, std::size_t limit);
  /// True where a new message would be taken: its event is worth watching.
  [[nodiscard]] bool wants_more() const;
  [[nodiscard]] ring::End& end() { return end_; }
  [[nodiscard]] Failure& failure() { return failure_; }
  [[nodiscard]] LinkStats stats() const;

 private:
  struct Item {
    Place place;
    ring::View view;
    bool sent = false;  // at least once
  };
  Status release_before(const Place& next);
  bool emit_short(std::string& out);
  bool encode(const Item& item);
  void fail(const Error& why);
  [[nodiscard]] bool window_open() const;

  std::uint64_t link_;
  ring::End end_;
  CodecChain codecs_;
  std::span<const std::byte> encoded_;             // of the item that is being sent, once a piece of it was
  std::vector<std::span<const std::byte>> short_;  // of the frame that is being made
  std::deque<Item> flight_;                        // taken and not acknowledged
  std::size_t unsent_ = 0;    // the first of them that is not fully sent on this connection
  std::uint32_t offset_ = 0;  // what of that one is sent
  std::uint64_t flight_bytes_ = 0;
  std::uint64_t window_ = 0;
  Place next_;        // of the next to be taken
  Place first_;       // of the first not acknowledged
  Place skip_until_;  // the other side has those before it from an earlier proxy of ours
  bool opened_ = false;
  bool ask_due_ = false;
  bool ended_ = false;  // the stream's end was taken
  bool dead_ = false;
  bool end_sent_ = false;  // on this connection
  bool failed_ = false;    // a codec refused a message: the end is a death on both sides
  bool finished_ = false;  // the other side confirmed the end, or stopped
  Failure failure_;
  LinkStats stats_;
};

/// Puts messages that arrive into a queue here.
class InHalf {
 public:
  InHalf(std::uint64_t link, ring::End end, std::uint64_t window, CodecChain codecs = {});

  /// The peer asked, or this half is new on a connection that is up.
  void answer() {
    open_due_ = !finished_;
    stop_due_ = finished_;
  }
  void disconnected();
  /// kCorrupt where the peer breaks the protocol: its connection is to be closed.
  Status on_data(const Data& data);
  Status on_messages(Messages messages);
  /// Of a data frame the first part is here. True where it was taken, and the rest goes into sink(); false:
  /// nothing happened, the frame is for on_data() when all of it is here.
  Result<bool> on_begun_data(const Data& data);
  /// Where the next `size` bytes of what on_begun_data() began are to be put; empty where they are not wanted
  /// any more.
  [[nodiscard]] std::span<std::byte> sink(std::size_t size) const;
  /// So many bytes were put there.
  void sunk(std::size_t size);
  Status on_end(bool dead);
  /// Puts what is here into the queue, as far as there is room. True where something was put.
  bool put();
  /// Looks whether anybody still reads the queue.
  void check_readers();
  /// Appends what the peer must hear at once. True where something was appended.
  bool emit(OutBytes& out, std::size_t limit);
  /// True where the peer was not yet told of messages that are in the queue.
  [[nodiscard]] bool acknowledges() const { return untold_ > 0; }
  /// Appends that, unless `out` holds `limit` bytes. True where something was appended.
  bool acknowledge(OutBytes& out, std::size_t limit);
  /// True where messages wait for room in the queue.
  [[nodiscard]] bool waits_for_room() const { return !backlog_.empty(); }
  [[nodiscard]] ring::End& end() { return end_; }
  [[nodiscard]] Failure& failure() { return failure_; }
  [[nodiscard]] LinkStats stats() const;

 private:
  struct Item {
    Data head;  // without its piece
    std::vector<std::byte> bytes;
  };
  int put_item(const Data& head, std::span<const std::byte> bytes);
  [[nodiscard]] bool may_land(const Data& data) const;
  Result<bool> land(const Data& data);
  [[nodiscard]] Status check_window() const;
  void wait_for_room(const Data& head, std::vector<std::byte> bytes);
  void delivered(const Data& head, std::size_t size);
  void told();
  [[nodiscard]] bool presses() const;
  bool deliver(const Data& head, std::span<const std::byte> bytes);
  Status accept();
  void fail(const Error& why);
  void finish(bool queue_dead, bool tell_dead);

  std::uint64_t link_;
  ring::End end_;
  CodecChain codecs_;
  std::uint64_t window_;
  std::deque<Item> backlog_;
  std::uint64_t backlog_bytes_ = 0;
  Item arriving_;  // a fragment of which pieces are still missing
  bool arriving_open_ = false;
  /// A long message that arrives straight in the queue's memory.
  struct Landing {
    Data head;
    std::span<std::byte> room;  // of the whole message; empty: none lands
    std::size_t done = 0;
  };
  Landing landing_;
  Place next_;   // expected from the peer
  Place acked_;  // everything before is in the queue
  bool open_due_ = false;
  // Messages, or parts of such, and their bytes that are in the queue but not acknowledged.
  std::uint64_t untold_ = 0;
  std::uint64_t untold_bytes_ = 0;
  bool stop_due_ = false;
  bool stop_dead_ = false;
  bool end_seen_ = false;  // the stream's end came, messages before it may still wait
  bool end_dead_ = false;
  bool finished_ = false;
  Failure failure_;
  LinkStats stats_;
};

}  // namespace mvm::queuevm::link
