#include "channel.h"

#include <algorithm>
#include <cstring>

namespace mvm::rmix::native {
namespace {

constexpr std::size_t kFirstRoom = 16U << 10U;
constexpr std::size_t kMostIdleRoom = 1U << 20U;
constexpr std::size_t kMostWaiting = 4 * kMostBytes;

}  // namespace

Channel::Channel(std::unique_ptr<queuevm::ByteStream> stream, bool exclusive)
    : stream_(std::move(stream)), exclusive_(exclusive), in_(kFirstRoom) {}

Channel::Channel(std::unique_ptr<Memory> memory)
    : memory_(std::move(memory)), exclusive_(false), in_(kFirstRoom) {}

int Channel::fd() const { return memory_ ? memory_->fd() : stream_->fd(); }

std::string Channel::certificate() const { return memory_ ? std::string() : stream_->peer(); }

Result<std::size_t> Channel::read(std::span<std::byte> buffer) {
  if (memory_) return memory_->read(buffer);
  if (!exclusive_) return stream_->read(buffer);
  const std::lock_guard lock(mutex_);
  return stream_->read(buffer);
}

Result<std::size_t> Channel::write(std::span<const std::byte> bytes) {
  return memory_ ? memory_->write(bytes) : stream_->write(bytes);
}

Status Channel::send(std::string_view frame, std::uint64_t* begin) {
  const std::lock_guard lock(mutex_);
  std::span<const std::byte> rest = std::as_bytes(std::span(frame));
  if (begin != nullptr) *begin = left_.load(std::memory_order_relaxed) + out_.size() - out_begin_;
  while (!waiting_.load(std::memory_order_relaxed) && !rest.empty()) {
    MVM_ASSIGN(const std::size_t put, write(rest));
    rest = rest.subspan(put);
    left_.fetch_add(put, std::memory_order_relaxed);
    if (put == 0) waiting_.store(true, std::memory_order_relaxed);
  }
  if (rest.empty()) return ok();
  if (out_.size() - out_begin_ + rest.size() > kMostWaiting)
    return Error(ErrorCode::kExhausted, "a peer does not read what is sent to it");
  out_.append(reinterpret_cast<const char*>(rest.data()), rest.size());
  return ok();
}

Status Channel::flush() {
  const std::lock_guard lock(mutex_);
  while (out_begin_ < out_.size()) {
    MVM_ASSIGN(const std::size_t put, write(std::as_bytes(std::span(out_)).subspan(out_begin_)));
    if (put == 0) return ok();
    out_begin_ += put;
    left_.fetch_add(put, std::memory_order_relaxed);
  }
  out_.clear();
  if (out_.capacity() > kMostIdleRoom) out_.shrink_to_fit();
  out_begin_ = 0;
  waiting_.store(false, std::memory_order_relaxed);
  return ok();
}

Result<bool> Channel::receive(std::size_t most, Look look, const Take& take) {
  if (waiting_.load(std::memory_order_relaxed)) MVM_TRY(flush());
  // What a peer wrote before it went is read first.
  const Status heard = memory_ && look != Look::kQuick ? memory_->hear() : ok();
  bool moved = false;
  for (;;) {
    make_room();
    const std::span<std::byte> room = std::span(in_).subspan(in_end_);
    const auto got = read(room);
    if (!got) return got.error();
    if (*got == 0) break;
    moved = true;
    in_end_ += *got;
    MVM_TRY(cut(most, take));
    if (stream_ && !exclusive_ && look != Look::kToEnd && *got < room.size()) break;  // all that was there
  }
  if (!heard) return heard.error();
  return moved;
}

Status Channel::cut(std::size_t most, const Take& take) {
  while (in_end_ - in_begin_ >= kHeader) {
    const std::span<const std::byte> there = std::span(in_).subspan(in_begin_, in_end_ - in_begin_);
    MVM_ASSIGN(const Header header, read_header(there.first<kHeader>()));
    if (header.size > most) return Error(ErrorCode::kCorrupt, "a peer's message is too big");
    if (there.size() - kHeader < header.size) return ok();
    in_begin_ += kHeader + header.size;
    MVM_TRY(take(header, there.subspan(kHeader, header.size)));
  }
  return ok();
}

/// Room behind what was not yet cut. It grows with what has arrived, not with what a header promises.
void Channel::make_room() {
  if (in_begin_ == in_end_) {
    in_begin_ = in_end_ = 0;
    if (in_.size() > kMostIdleRoom) in_ = std::vector<std::byte>(kFirstRoom);
  }
  if (in_end_ < in_.size()) return;
  if (in_begin_ > 0) {
    std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  if (in_end_ == in_.size()) in_.resize(in_.size() * 2);
}

}  // namespace mvm::rmix::native
