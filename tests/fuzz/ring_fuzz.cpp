// Any bytes as a queue's shared memory: a peer may write anything there. A valid queue is made, its bytes are
// overwritten as the input says, and every call must come back with an answer.

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <span>
#include <string_view>

#include "mvm/queuevm/queue.h"

namespace {

using namespace mvm::queuevm;

QueueSpec spec_of(std::uint8_t choice) {
  QueueSpec spec;
  spec.kind = static_cast<QueueKind>(choice % 3U);
  spec.capacity = 8;
  spec.bytes = 4096;
  spec.when_full = WhenFull::kFail;
  spec.producers = 1U + (choice >> 4U) % 2U;
  spec.consumers = 1U + (choice >> 5U) % 2U;
  return spec;
}

/// Each group of four bytes: where (three), what (one).
void overwrite(int fd, std::span<const std::uint8_t> script, std::uint64_t file_bytes) {
  for (; script.size() >= 4; script = script.subspan(4)) {
    const std::uint64_t where =
        (std::uint64_t{script[0]} | std::uint64_t{script[1]} << 8U | std::uint64_t{script[2]} << 16U) %
        file_bytes;
    static_cast<void>(!::pwrite(fd, &script[3], 1, static_cast<off_t>(where)));
  }
}

void use(const Queue& queue) {
  static_cast<void>(queue.stats());
  static_cast<void>(queue.end_states(Side::kProducer));
  static_cast<void>(queue.peek(4, 64));
  auto producer = queue.producer(0);
  auto consumer = queue.consumer(0);
  const std::array<std::byte, 100> message{};
  for (int i = 0; i < 4; ++i) {
    if (producer) static_cast<void>(producer->try_put(message, 3, 7));
    if (!consumer) continue;
    MessageView view;
    auto taken = consumer->try_take(view);
    if (!taken || *taken != Outcome::kDone) continue;
    volatile std::byte sum{};
    for (const std::byte byte : view.data) sum = sum ^ byte;  // its bytes can be read
    static_cast<void>(consumer->release(view));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  auto queue = Queue::create_in_memory(spec_of(data[0]), "fuzz");
  if (!queue) return 0;
  const std::array<std::byte, 33> message{};
  {
    auto producer = queue->producer(0);
    for (int i = 0; producer && i < data[1] % 8; ++i) static_cast<void>(producer->try_put(message));
  }
  auto fd = queue->open_descriptor();
  if (!fd) return 0;
  overwrite(fd->get(), std::span(data, size).subspan(2), file_size(queue->spec()));
  auto adopted = Queue::adopt(std::move(*fd));
  if (!adopted) return 0;
  const DrainRequest some{.most = 3, .preview = 64, .room = 100};
  if ((data[1] & 8U) != 0) static_cast<void>(adopted->drain(some));
  use(*adopted);
  if ((data[1] & 16U) != 0) static_cast<void>(adopted->drain(some));
  return 0;
}
