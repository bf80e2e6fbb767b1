#include "proxy_link.h"

#include <algorithm>

#include "mvm.h"
#include "mvm/base/log.h"
#include "wire.h"

namespace mvm::queuevm::link {
namespace {

constexpr std::size_t kLongMessage = 8 << 10;  // worth receiving in its place
constexpr std::size_t kMostInFlight = 8192;    // items; the window bounds their bytes
constexpr std::uint64_t kShareUntold = 8;  // of what the sender may have in flight, before it is told at once

Place after(const Place& place, bool completes) {
  return completes ? Place{place.number + 1, 0} : Place{place.number, place.part + 1};
}

bool completes(std::uint32_t flags) { return (flags & (kMore | kAborted)) == 0; }

std::uint32_t flags_of(const ring::View& view) {
  return (view.more ? kMore : 0) | (view.continuation ? kContinuation : 0) | (view.aborted ? kAborted : 0);
}

/// Where the message stands on its link, as both ends know it.
MessageHead head_of(std::uint64_t link, const Data& data) {
  MessageHead head;
  auto* at = reinterpret_cast<unsigned char*>(head.bytes.data());
  wire::store64(at, link);
  wire::store64(at + 8, data.place.number);
  wire::store32(at + 16, data.place.part);
  wire::store32(at + 20, data.flags | static_cast<std::uint32_t>(data.priority) << 8 |
                             static_cast<std::uint32_t>(data.codecs) << 16);
  wire::store64(at + 24, data.key);
  wire::store64(at + 32, data.total);
  head.fragment = data.flags != 0;
  return head;
}

Data head_of(const ring::View& view, const Place& place, const CodecChain& codecs) {
  Data data;
  data.place = place;
  data.flags = flags_of(view);
  data.priority = static_cast<std::uint8_t>(view.priority);
  data.codecs = codecs.tag();
  data.key = view.key;
  data.total = view.total;
  return data;
}

}  // namespace

void Failure::set(std::uint64_t link, const CodecChain& codecs, const Place& place, const Error& why) {
  why_ = why.message();
  untold_ = LinkFailure{
      .link = link, .peer = {}, .codecs = codecs.text(), .message = place.number, .why = why.describe()};
  log::error("link.failed",
             {{"link", link}, {"codecs", codecs.text()}, {"message", place.number}, {"why", why.describe()}});
}

// ---- outgoing ----

OutHalf::OutHalf(std::uint64_t link, ring::End end, CodecChain codecs)
    : link_(link), end_(std::move(end)), codecs_(std::move(codecs)) {
  next_ = first_ = skip_until_ = Place{end_.count(), 0};
  stats_.link = link;
  stats_.flow = LinkHalf::Flow::kOutgoing;
  stats_.codecs = codecs_.text();
  stats_.messages = end_.count();
}

void OutHalf::connected() {
  opened_ = false;
  ask_due_ = true;
}

Status OutHalf::release_before(const Place& next) {
  while (!flight_.empty() && flight_.front().place < next) {
    Item& item = flight_.front();
    if (end_.release(item.view.token) == MVM_ECORRUPT) {
      return Error(ErrorCode::kCorrupt, "a queue's shared memory is broken");
    }
    first_ = after(item.place, completes(flags_of(item.view)));
    if (first_.part == 0) ++stats_.messages;
    stats_.bytes += item.view.size;
    flight_bytes_ -= item.view.size;
    flight_.pop_front();
    if (unsent_ > 0) {
      --unsent_;
    } else {
      offset_ = 0;
    }
  }
  return ok();
}

Status OutHalf::on_open(const Open& open) {
  if (finished_) return ok();
  if (open.next < first_)
    return Error(ErrorCode::kCorrupt, "a peer asks for messages that it had acknowledged");
  MVM_TRY(release_before(open.next));
  // An earlier proxy of ours sent more than it saw acknowledged: those the other side has already.
  if (open.next > next_) skip_until_ = open.next;
  for (std::size_t i = 0; i < flight_.size(); ++i) stats_.resent += flight_[i].sent ? 1U : 0U;
  unsent_ = 0;
  offset_ = 0;
  window_ = open.window;
  opened_ = true;
  end_sent_ = false;
  return ok();
}

Status OutHalf::on_ack(const Place& next) {
  if (!opened_ || finished_) return ok();
  if (next > next_ || next < first_)
    return Error(ErrorCode::kCorrupt, "a peer acknowledges what was not sent");
  return release_before(next);
}

void OutHalf::on_stop(bool dead) {
  if (finished_) return;
  finished_ = true;
  stats_.ended = true;
  if (ended_ && !dead) {  // what a codec refused was never taken as sent
    // The other side has it all: only now does it leave our queue.
    static_cast<void>(release_before(next_));
  }
  flight_.clear();
  unsent_ = 0;
  flight_bytes_ = 0;
  end_.close(dead || failed_ ? ring::kDead : ring::kDone);
}

/// A message that cannot be encoded ends the link: behind it nothing may follow.
void OutHalf::fail(const Error& why) {
  failure_.set(link_, codecs_, flight_[unsent_].place, why);
  next_ = flight_[unsent_].place;
  while (flight_.size() > unsent_) {
    flight_bytes_ -= flight_.back().view.size;
    flight_.pop_back();
  }
  ended_ = dead_ = failed_ = true;
}

bool OutHalf::window_open() const {
  return flight_.empty() || (flight_bytes_ < window_ && flight_.size() < kMostInFlight);
}

bool OutHalf::wants_more() const { return opened_ && !ended_ && !finished_ && window_open(); }

Result<bool> OutHalf::take() {
  bool any = false;
  while (wants_more()) {
    ring::View view;
    const int result = end_.take(view);
    if (result == ring::kAgain) break;
    if (result == MVM_ECORRUPT) return Error(ErrorCode::kCorrupt, "a queue's shared memory is broken");
    if (result != MVM_OK) {
      // One producer of several died: the stream goes on, and its end will tell.
      if (result == MVM_PEERDEAD && !end_.finished()) continue;
      ended_ = true;
      dead_ = result == MVM_PEERDEAD;
      return true;
    }
    const Place place = next_;
    next_ = after(place, completes(flags_of(view)));
    flight_.push_back({place, view, false});
    flight_bytes_ += view.size;
    any = true;
    if (place < skip_until_) {
      MVM_TRY(release_before(next_));
      unsent_ = 0;
    }
  }
  return any;
}

/// Makes `encoded_` of an item's bytes. False where that failed.
bool OutHalf::encode(const Item& item) {
  encoded_ = {item.view.data, item.view.size};
  if (codecs_.empty()) return true;
  auto encoded = codecs_.encode(encoded_, head_of(link_, head_of(item.view, item.place, codecs_)));
  if (!encoded) {
    fail(encoded.error());
    return false;
  }
  encoded_ = *encoded;
  return true;
}

/// The next message and those that follow it, if they are whole, short and plain. False where there is none.
bool OutHalf::emit_short(std::string& out) {
  if (!codecs_.empty() || offset_ != 0) return false;
  short_.clear();
  std::size_t bytes = 0;
  const std::uint64_t first = flight_[unsent_].place.number;
  for (; unsent_ < flight_.size() && bytes < kMostOfSeveral; ++unsent_) {
    Item& item = flight_[unsent_];
    const ring::View& view = item.view;
    if (view.size > kMaxShort || flags_of(view) != 0 || view.priority != 0 || view.key != 0) break;
    short_.emplace_back(view.data, view.size);
    bytes += view.size + 1;
    item.sent = true;
  }
  if (short_.empty()) return false;
  append_messages(out, link_, first, short_);
  return true;
}

bool OutHalf::emit(OutBytes& out, std::size_t limit) {
  const std::size_t before = out.size();
  if (ask_due_ && out.size() < limit) {
    append_simple(out.tail(), Type::kAsk, link_);
    ask_due_ = false;
  }
  if (!opened_ || finished_) return out.size() != before;
  while (unsent_ < flight_.size() && out.size() < limit) {
    if (emit_short(out.tail())) continue;
    Item& item = flight_[unsent_];
    if (offset_ == 0 && !encode(item)) break;
    Data data = head_of(item.view, item.place, codecs_);
    data.size = static_cast<std::uint32_t>(encoded_.size());
    data.offset = offset_;
    const std::size_t piece = std::min<std::size_t>(kMaxPiece, data.size - offset_);
    data.piece = encoded_.subspan(offset_, piece);
    if (codecs_.empty()) {
      append_data_head(out.tail(), link_, data);
      out.lend(data.piece);
    } else {  // the chain's memory is for one message
      append_data(out.tail(), link_, data);
    }
    item.sent = true;
    offset_ += static_cast<std::uint32_t>(piece);
    if (offset_ == data.size) {
      ++unsent_;
      offset_ = 0;
    }
  }
  if (ended_ && !end_sent_ && unsent_ == flight_.size() && out.size() < limit) {
    append_end(out.tail(), Type::kEnd, link_, dead_);
    end_sent_ = true;
  }
  return out.size() != before;
}

LinkStats OutHalf::stats() const {
  LinkStats stats = stats_;
  stats.in_flight = flight_.size();
  stats.failure = failure_.why();
  return stats;
}

// ---- incoming ----

InHalf::InHalf(std::uint64_t link, ring::End end, std::uint64_t window, CodecChain codecs)
    : link_(link),
      end_(std::move(end)),
      codecs_(std::move(codecs)),
      window_(window == 0 ? end_.region().spec().bytes : window) {
  next_ = acked_ = Place{end_.count(), 0};
  stats_.link = link;
  stats_.flow = LinkHalf::Flow::kIncoming;
  stats_.codecs = codecs_.text();
  stats_.messages = end_.count();
}

// What did not reach the queue was not acknowledged, and comes again.
void InHalf::disconnected() {
  backlog_.clear();
  backlog_bytes_ = 0;
  arriving_ = {};
  arriving_open_ = false;
  if (!std::exchange(landing_, {}).room.empty()) end_.cancel();
  next_ = acked_;
  told();
  end_seen_ = false;
}

// `queue_dead`: what this queue's readers learn; `tell_dead`: what the sender's side learns.
void InHalf::finish(bool queue_dead, bool tell_dead) {
  finished_ = true;
  stats_.ended = true;
  backlog_.clear();
  backlog_bytes_ = 0;
  arriving_ = {};
  landing_ = {};
  end_.close(queue_dead ? ring::kDead : ring::kDone);
  open_due_ = false;
  told();
  stop_due_ = true;
  stop_dead_ = tell_dead;
}

Status InHalf::on_data(const Data& data) {
  if (finished_) return ok();
  if (data.place < next_) {
    stats_.duplicates += data.offset == 0 ? 1U : 0U;
    return ok();
  }
  if (data.place > next_ || end_seen_) return Error(ErrorCode::kCorrupt, "a peer skipped a message");
  if (data.codecs != codecs_.tag()) {
    fail({ErrorCode::kCorrupt, "the other end encodes by another chain"});
    return ok();
  }
  if (data.size > codecs_.longest(end_.largest())) {
    ++stats_.undeliverable;
    finish(true, true);
    return ok();
  }
  MVM_TRY(check_window());
  MVM_ASSIGN(const bool landed, land(data));
  if (landed) {
    std::copy(data.piece.begin(), data.piece.end(), sink(data.piece.size()).begin());
    sunk(data.piece.size());
    return ok();
  }
  // What came in one piece goes straight on, unless something waits before it.
  if (!arriving_open_ && data.offset == 0 && data.piece.size() == data.size && codecs_.empty() &&
      backlog_.empty() && deliver(data, data.piece)) {
    if (!finished_) next_ = acked_;
    return ok();
  }
  if (data.offset == 0 && !arriving_open_) {
    arriving_.head = data;
    arriving_.bytes.clear();
    arriving_open_ = true;
  } else if (!arriving_open_ || arriving_.bytes.size() != data.offset || arriving_.head.size != data.size ||
             arriving_.head.flags != data.flags) {
    return Error(ErrorCode::kCorrupt, "a peer sent the pieces of a message out of order");
  }
  arriving_.bytes.insert(arriving_.bytes.end(), data.piece.begin(), data.piece.end());
  return arriving_.bytes.size() < data.size ? ok() : accept();
}

Status InHalf::on_messages(Messages messages) {
  if (finished_) return ok();
  if (end_seen_) return Error(ErrorCode::kCorrupt, "a peer skipped a message");
  if (arriving_open_ || !landing_.room.empty())
    return Error(ErrorCode::kCorrupt, "a peer sent the pieces of a message out of order");
  if (!codecs_.empty()) {
    fail({ErrorCode::kCorrupt, "the other end encodes by another chain"});
    return ok();
  }
  Data head;
  head.place.number = messages.first();
  for (std::span<const std::byte> message; !finished_ && messages.next(message); ++head.place.number) {
    if (head.place < next_) {
      ++stats_.duplicates;
      continue;
    }
    if (head.place > next_) return Error(ErrorCode::kCorrupt, "a peer skipped a message");
    if (backlog_.empty() && deliver(head, message)) {
      next_ = acked_;
      continue;
    }
    MVM_TRY(check_window());
    wait_for_room(head, {message.begin(), message.end()});
  }
  return finished_ || messages.complete() ? ok()
                                          : Error(ErrorCode::kCorrupt, "a peer sent a bad frame of messages");
}

// Only where nothing else is in the way: one producer, no codec, nothing that waits, the queue's rule to
// block.
bool InHalf::may_land(const Data& data) const {
  return data.offset == 0 && data.size >= kLongMessage && data.flags == 0 && codecs_.empty() &&
         backlog_.empty() && !arriving_open_ && end_.is_stream() &&
         end_.region().spec().when_full == ring::kBlock;
}

/// True where this piece goes into the queue's memory, at sink().
Result<bool> InHalf::land(const Data& data) {
  if (!landing_.room.empty()) {
    if (landing_.done != data.offset || landing_.head.size != data.size || landing_.head.flags != data.flags)
      return Error(ErrorCode::kCorrupt, "a peer sent the pieces of a message out of order");
    return true;
  }
  std::byte* at = nullptr;
  if (!may_land(data) || end_.reserve(data.size, &at) != MVM_OK) return false;
  landing_ = {.head = data, .room = {at, data.size}, .done = 0};
  return true;
}

Result<bool> InHalf::on_begun_data(const Data& data) {
  if (finished_ || data.place != next_ || end_seen_ || data.codecs != codecs_.tag() ||
      data.size > end_.largest())
    return false;
  MVM_ASSIGN(const bool landed, land(data));
  if (!landed) return false;
  std::copy(data.piece.begin(), data.piece.end(), sink(data.piece.size()).begin());
  sunk(data.piece.size());
  return true;
}

std::span<std::byte> InHalf::sink(std::size_t size) const {
  const std::span<std::byte> left = landing_.room.subspan(landing_.done);
  return left.first(std::min(size, left.size()));
}

void InHalf::sunk(std::size_t size) {
  landing_.done += size;
  if (landing_.room.empty() || landing_.done < landing_.room.size()) return;
  const Landing landed = std::exchange(landing_, {});
  static_cast<void>(end_.commit(landed.room.size(), 0, 0));
  delivered(landed.head, landed.room.size());
  next_ = acked_;
}

/// All of a message, or of a fragment, is here.
Status InHalf::accept() {
  if (!codecs_.empty()) {
    const auto decoded = codecs_.decode(arriving_.bytes, head_of(link_, arriving_.head), end_.largest());
    if (!decoded) {
      fail(decoded.error());
      return ok();
    }
    arriving_.bytes.assign(decoded->begin(), decoded->end());
  }
  wait_for_room(arriving_.head, std::move(arriving_.bytes));
  arriving_ = {};
  arriving_open_ = false;
  return ok();
}

/// A peer holds no more of our memory than its window, in bytes or in messages that have none.
Status InHalf::check_window() const {
  if (backlog_bytes_ <= window_ + end_.largest() && backlog_.size() <= kMostInFlight) return ok();
  return Error(ErrorCode::kCorrupt, "a peer sends more than its window");
}

/// Behind what waits already.
void InHalf::wait_for_room(const Data& head, std::vector<std::byte> bytes) {
  backlog_bytes_ += bytes.size();
  next_ = after(head.place, completes(head.flags));
  backlog_.push_back({head, std::move(bytes)});
  backlog_.back().head.piece = {};
}

/// What arrived is no message: the link ends on both sides, other links go on.
void InHalf::fail(const Error& why) {
  failure_.set(link_, codecs_, next_, why);
  ++stats_.undeliverable;
  finish(true, true);
}

Status InHalf::on_end(bool dead) {
  if (finished_) return ok();
  end_seen_ = true;
  end_dead_ = dead;
  return ok();
}

int InHalf::put_item(const Data& head, std::span<const std::byte> bytes) {
  if ((head.flags & kAborted) != 0) {
    if (!end_.may_fragment()) return MVM_OK;
    end_.put_abort();
    return MVM_OK;
  }
  if ((head.flags & (kMore | kContinuation)) != 0) {
    if (!end_.may_fragment() || bytes.empty()) return MVM_TOOBIG;
    return end_.put_fragment(bytes.data(), bytes.size(), head.total, (head.flags & kContinuation) != 0,
                             (head.flags & kMore) != 0);
  }
  // A queue that fails when full is no reason to lose what was accepted in the other domain: it waits.
  if (end_.region().spec().when_full == ring::kFail && !end_.ready()) return ring::kAgain;
  return end_.put(bytes.data(), bytes.size(), head.priority, head.key);
}

/// Into the queue, if it has room. False: it must wait.
bool InHalf::deliver(const Data& head, std::span<const std::byte> bytes) {
  const int result = put_item(head, bytes);
  if (result == ring::kAgain || result == MVM_FULL) return false;
  if (result == MVM_EOS || result == MVM_PEERDEAD) {
    finish(false, result == MVM_PEERDEAD);
    return true;
  }
  if (result != MVM_OK && result != MVM_DROPPED) {
    ++stats_.undeliverable;
    finish(true, true);
    return true;
  }
  delivered(head, bytes.size());
  return true;
}

/// It is in the queue.
void InHalf::delivered(const Data& head, std::size_t size) {
  acked_ = after(head.place, completes(head.flags));
  if (acked_.part == 0) ++stats_.messages;
  stats_.bytes += size;
  ++untold_;
  untold_bytes_ += size;
}

/// The peer knows, or need not know, all that is in the queue.
void InHalf::told() { untold_ = untold_bytes_ = 0; }

/// So much is untold that the sender could come to wait for it: its queue is as large as ours.
bool InHalf::presses() const {
  return acknowledges() &&
         (untold_bytes_ >= window_ / kShareUntold || untold_ >= end_.region().spec().capacity / kShareUntold);
}

bool InHalf::acknowledge(OutBytes& out, std::size_t limit) {
  if (!acknowledges() || out.size() >= limit) return false;
  append_ack(out.tail(), link_, acked_);
  told();
  return true;
}

bool InHalf::put() {
  bool any = false;
  while (!finished_ && !backlog_.empty()) {
    const Item& item = backlog_.front();
    if (!deliver(item.head, item.bytes)) break;
    any = true;
    if (finished_) return true;
    backlog_bytes_ -= item.bytes.size();
    backlog_.pop_front();
  }
  if (end_seen_ && !finished_ && backlog_.empty() && !arriving_open_ && landing_.room.empty()) {
    finish(end_dead_, false);
    any = true;
  }
  return any;
}

LinkStats InHalf::stats() const {
  LinkStats stats = stats_;
  stats.failure = failure_.why();
  return stats;
}

void InHalf::check_readers() {
  if (finished_) return;
  const int result = end_.other_side();
  if (result == MVM_EOS || result == MVM_PEERDEAD) finish(false, result == MVM_PEERDEAD);
}

bool InHalf::emit(OutBytes& out, std::size_t limit) {
  if (out.size() >= limit) return false;
  const std::size_t before = out.size();
  if (open_due_) {
    append_open(out.tail(), link_, {acked_, window_});
    open_due_ = false;
    told();
  }
  if (presses()) acknowledge(out, limit);
  if (stop_due_) {
    append_end(out.tail(), Type::kStop, link_, stop_dead_);
    stop_due_ = false;
  }
  return out.size() != before;
}

}  // namespace mvm::queuevm::link
