// What a proxy does with a peer's bytes: the stream is cut into frames, and the frames drive both halves of a
// link on real queues. The first byte chooses how the stream is chopped, and whether it comes before the
// greeting.
#include <algorithm>
#include <cstdlib>

#include "mvm/queuevm/queue.h"
#include "proxy_link.h"

namespace {

using namespace mvm::queuevm;
namespace ring = mvm::ring;

ring::End attach(const Queue& queue, mvm::ring::Side side) {
  mvm::ring::Region region;
  std::string why;
  if (region.open(queue.open_descriptor().value().release(), why) != 0) std::abort();
  ring::End end;
  if (end.attach(std::move(region), side, 0, true, why) != 0) std::abort();
  return end;
}

mvm::Status handle(const link::Frame& frame, link::OutHalf& out, link::InHalf& in) {
  switch (frame.type) {
    case link::Type::kHello: {
      MVM_ASSIGN(const auto hello, link::decode_hello(frame.body));
      if (hello.domain.empty() || hello.domain.size() > link::kMaxName) std::abort();
      return mvm::ok();
    }
    case link::Type::kAsk:
      in.answer();
      return mvm::ok();
    case link::Type::kOpen: {
      MVM_ASSIGN(const auto open, link::decode_open(frame.body));
      return out.on_open(open);
    }
    case link::Type::kAck: {
      MVM_ASSIGN(const auto next, link::decode_ack(frame.body));
      return out.on_ack(next);
    }
    case link::Type::kData: {
      MVM_ASSIGN(const auto data, link::decode_data(frame.body));
      return in.on_data(data);
    }
    case link::Type::kMessages: {
      MVM_ASSIGN(const auto messages, link::Messages::read(frame.body));
      return in.on_messages(messages);
    }
    case link::Type::kEnd: {
      MVM_ASSIGN(const bool dead, link::decode_end(frame.body));
      return in.on_end(dead);
    }
    case link::Type::kStop: {
      MVM_ASSIGN(const bool dead, link::decode_end(frame.body));
      out.on_stop(dead);
      return mvm::ok();
    }
    default:
      return mvm::ok();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool cells = (data[0] & 1) != 0;
  const std::size_t chop = static_cast<std::size_t>(data[0] >> 2) + 1;
  QueueSpec spec;
  spec.bytes = 32768;  // long messages are received in their place
  spec.capacity = 8;
  if (cells) spec.kind = QueueKind::kPriority;
  const Queue from = Queue::create_in_memory(spec, "fuzz").value();
  const Queue to = Queue::create_in_memory(spec, "fuzz").value();
  Producer producer = from.producer(0).value();
  for (int i = 0; i < 3; ++i) static_cast<void>(producer.try_put(std::as_bytes(std::span("abc"))).value());
  link::OutHalf out(1, attach(from, mvm::ring::Side::kConsumer));
  link::InHalf in(1, attach(to, mvm::ring::Side::kProducer), 0);
  out.connected();
  link::FrameReader reader;
  if ((data[0] & 2) != 0) reader.set_limit(link::kMaxBody);
  for (std::size_t at = 1; at < size;) {
    const std::size_t now = std::min(chop, size - at);
    const auto* const from_here = reinterpret_cast<const std::byte*>(data) + at;
    const auto sink = in.sink(std::min(now, reader.rest()));
    std::copy_n(from_here, sink.size(), sink.begin());
    if (!sink.empty()) in.sunk(sink.size());
    reader.went_elsewhere(sink.size());
    const auto room = reader.room();
    std::copy_n(from_here + sink.size(), now - sink.size(), room.begin());
    reader.filled(now - sink.size());
    at += now;
    for (;;) {
      const auto frame = reader.next();
      if (!frame) return 0;
      if (!frame->has_value()) break;
      if (!handle(**frame, out, in)) return 0;
      in.put();
      if (!out.take()) return 0;
      link::OutBytes sent;
      in.emit(sent, 1 << 20);
      out.emit(sent, 1 << 20);
    }
    if (const auto begun = reader.begun(); begun && (data[0] & 2) != 0) {
      const auto head = link::decode_begun_data(begun->frame.body, begun->size);
      if (!head) return 0;
      const auto taken = in.on_begun_data(*head);
      if (!taken) return 0;
      if (*taken) reader.take_begun();
    }
  }
  if (to.stats().enqueued > 8 || from.stats().dequeued > 3) std::abort();
  return 0;
}
