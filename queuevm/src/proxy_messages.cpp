// What a proxy receives from its peers, and offers to them.
#include <algorithm>

#include "proxy_state.h"

namespace mvm::queuevm {

using link::Connection;
using link::InHalf;
using link::kOutLimit;
using link::Moment;
using link::Peer;

namespace {

constexpr std::size_t kWaiting = 64 << 10;  // with so many waiting no message is offered
/// Bytes read, or written, before others have their turn and the peer hears of it.
constexpr std::size_t kAtOnce = 256 << 10;
constexpr auto kUntold = std::chrono::microseconds(50);  // an acknowledgement waits so long for company

/// The in half that receives a message in its queue's memory, if the rest of a frame is to come for it.
InHalf* landing(Peer& peer) {
  const link::FrameReader& reader = peer.connection->reader();
  const auto in = reader.rest() > 0 ? peer.ins.find(reader.rest_link()) : peer.ins.end();
  return in == peer.ins.end() ? nullptr : in->second.get();
}

/// A long message of which the beginning is here goes where it belongs, and what follows of it too.
Status receive_in_place(Peer& peer) {
  link::FrameReader& reader = peer.connection->reader();
  const auto begun = reader.begun();
  if (!begun) return ok();
  const auto in = peer.ins.find(begun->frame.link);
  if (in == peer.ins.end()) return ok();
  MVM_ASSIGN(const link::Data data, link::decode_begun_data(begun->frame.body, begun->size));
  MVM_ASSIGN(const bool taken, in->second->on_begun_data(data));
  if (taken) reader.take_begun();
  return ok();
}

}  // namespace

Status Proxy::State::handle(Peer& peer, const link::Frame& frame) {
  const auto out = peer.outs.find(frame.link);
  const auto in = peer.ins.find(frame.link);
  const bool has_out = out != peer.outs.end();
  const bool has_in = in != peer.ins.end();
  switch (frame.type) {
    case link::Type::kPing:
      if (peer.connection->pending() < kOutLimit)
        link::append_simple(peer.connection->out().tail(), link::Type::kPong, 0);
      return ok();
    case link::Type::kPong:
      return ok();
    case link::Type::kAsk:
      if (has_in) in->second->answer();
      return ok();
    case link::Type::kOpen: {
      MVM_ASSIGN(const link::Open open, link::decode_open(frame.body));
      return has_out ? out->second->on_open(open) : ok();
    }
    case link::Type::kData: {
      MVM_ASSIGN(const link::Data data, link::decode_data(frame.body));
      return has_in ? in->second->on_data(data) : ok();
    }
    case link::Type::kMessages: {
      MVM_ASSIGN(const link::Messages messages, link::Messages::read(frame.body));
      return has_in ? in->second->on_messages(messages) : ok();
    }
    case link::Type::kAck: {
      MVM_ASSIGN(const link::Place next, link::decode_ack(frame.body));
      return has_out ? out->second->on_ack(next) : ok();
    }
    case link::Type::kEnd: {
      MVM_ASSIGN(const bool dead, link::decode_end(frame.body));
      return has_in ? in->second->on_end(dead) : ok();
    }
    case link::Type::kStop: {
      MVM_ASSIGN(const bool dead, link::decode_end(frame.body));
      if (has_out) out->second->on_stop(dead);
      return ok();
    }
    default:
      return Error(ErrorCode::kCorrupt, "a peer greets twice");
  }
}

Status Proxy::State::read_frames(Peer& peer, Moment now, bool& progress) {
  Connection& connection = *peer.connection;
  bool was_up = peer.up();
  std::size_t total = 0;
  for (bool more = true; more && total < kAtOnce;) {
    InHalf* const half = landing(peer);
    const auto sink = half == nullptr ? std::span<std::byte>() : half->sink(connection.reader().rest());
    MVM_ASSIGN(const Connection::Read read, connection.read(now, sink));
    if (read.to_sink > 0) half->sunk(read.to_sink);
    total += read.bytes;
    more = read.full;
    for (bool frames = true; frames;) {
      MVM_ASSIGN(const auto frame, connection.next());
      if (!frame && peer.up() && !std::exchange(was_up, true)) came_up(peer, now);
      frames = frame.has_value();
      if (frame) MVM_TRY(handle(peer, *frame));
    }
    if (peer.up()) MVM_TRY(receive_in_place(peer));
  }
  peer.stats.bytes_in += total;
  progress = progress || total > 0;
  return ok();
}

/// Tells the peer what of its messages is in our queues, as far as it reads what it is told. True where
/// something was told.
bool Proxy::State::acknowledge(Peer& peer) {
  bool any = false;
  for (auto& [number, half] : peer.ins) any = half->acknowledge(peer.connection->out(), kOutLimit) || any;
  peer.untold_since = {};
  return any;
}

/// Before a sleep: true where something was told.
bool Proxy::State::acknowledge_all(Moment now) {
  bool any = false;
  for (auto& [key, peer] : peers) {
    if (!peer.up() || !acknowledge(peer)) continue;
    any = true;
    if (auto put = peer.connection->write(); !put) {
      drop(peer, now, put.error());
    } else {
      peer.stats.bytes_out += *put;
    }
  }
  return any;
}

/// Messages as long as the peer takes them. An acknowledgement goes with whatever else is written: what it
/// costs alone would come before the answer to the message that it is for.
Status Proxy::State::move_messages(Peer& peer, Moment now, bool& progress) {
  Connection& connection = *peer.connection;
  for (auto& [number, half] : peer.ins) {
    progress = half->put() || progress;
    progress = half->emit(connection.out(), kOutLimit) || progress;
    tell(peer, half->failure());
  }
  std::size_t total = 0;
  for (bool more = true; more && total < kAtOnce;) {
    // What the peer has not taken is copied, so not much is offered before it has.
    more = connection.pending() < kWaiting && offer_messages(peer);
    progress = progress || more;
    if (connection.pending() > 0 || (peer.untold_since != Moment{} && now - peer.untold_since >= kUntold))
      acknowledge(peer);
    MVM_ASSIGN(const std::size_t put, connection.write());
    total += put;
    more = more && connection.pending() == 0;
  }
  const auto untold = [](const auto& in) { return in.second->acknowledges(); };
  if (peer.untold_since == Moment{} && std::any_of(peer.ins.begin(), peer.ins.end(), untold))
    peer.untold_since = now;
  peer.stats.bytes_out += total;
  progress = progress || total > 0;
  return ok();
}

/// True where something is to be written, or was learnt.
bool Proxy::State::offer_messages(Peer& peer) {
  bool any = false;
  // Another link has the first turn each time: what it offers may be all that there is room for.
  auto next = peer.outs.upper_bound(peer.turn);
  for (std::size_t left = peer.outs.size(); left > 0; --left, ++next) {
    if (next == peer.outs.end()) next = peer.outs.begin();
    auto& half = next->second;
    if (left == peer.outs.size()) peer.turn = next->first;
    auto taken = half->take();
    if (!taken) {  // our own shared memory is broken: that link ends, the others go on
      half->on_stop(true);
      continue;
    }
    any = *taken || any;
    any = half->emit(peer.connection->out(), kOutLimit) || any;
    tell(peer, half->failure());
  }
  return any;
}

void Proxy::State::tell(const Peer& peer, link::Failure& failure) const {
  auto untold = failure.take();
  if (!untold || !options.on_failure) return;
  untold->peer = peer.name;
  options.on_failure(*untold);
}

}  // namespace mvm::queuevm
