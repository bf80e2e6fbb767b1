#pragma once
// Whole frames over a connection, whatever carries its bytes. docs/formats/rmix-native.md.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "memory.h"
#include "mvm/base/result.h"
#include "mvm/queuevm/proxy.h"
#include "wire.h"

namespace mvm::rmix::native {

/// Why somebody reads.
enum class Look {
  kQuick,  ///< something is there: no system calls that can be spared
  kWoken,  ///< the descriptor is ready
  kToEnd,  ///< the other side may be gone: its end may be behind what is there, and is told once only
};

/// Any thread sends; one at a time receives (who has the reader's part, which is the owner's to give).
class Channel {
 public:
  /// `exclusive`: the stream cannot read and write at the same time (TLS).
  Channel(std::unique_ptr<queuevm::ByteStream> stream, bool exclusive);
  explicit Channel(std::unique_ptr<Memory> memory);

  [[nodiscard]] int fd() const;
  /// The name in a verified certificate.
  [[nodiscard]] std::string certificate() const;
  /// False until the stream carries anything.
  [[nodiscard]] bool ready() const { return memory_ != nullptr || stream_->ready(); }

  /// Sends a frame, now or as soon as there is room. `begin`: where it begins among all bytes ever sent.
  /// After an error the channel is of no use.
  [[nodiscard]] Status send(std::string_view frame, std::uint64_t* begin = nullptr);
  /// All bytes that ever left this process.
  [[nodiscard]] std::uint64_t left() const { return left_.load(std::memory_order_relaxed); }
  /// Something waits for room, or the stream to become writable.
  [[nodiscard]] bool wants_write() const {
    return waiting_.load(std::memory_order_relaxed) || (stream_ != nullptr && stream_->wants_write());
  }

  /// The reader's: sends what waits, reads what is there, and gives each whole frame to `take`. True where
  /// anything moved. Frames of more than `most` bytes are an error.
  using Take = std::function<Status(const Header&, std::span<const std::byte>)>;
  [[nodiscard]] Result<bool> receive(std::size_t most, Look look, const Take& take);

  /// Staying awake for a while is worth it: for bytes that come as they are.
  [[nodiscard]] bool spins() const { return !exclusive_; }
  /// Bytes of a socket as they are.
  [[nodiscard]] bool plain() const { return memory_ == nullptr && !exclusive_; }
  /// receive() may find something. Without a system call, so of a socket it is not known.
  [[nodiscard]] bool maybe() const { return memory_ == nullptr || memory_->readable(); }
  /// The reader sleeps on fd() next. False: there is something already.
  [[nodiscard]] bool arm() { return memory_ == nullptr || memory_->arm(); }
  void disarm() {
    if (memory_) memory_->disarm();
  }

 private:
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buffer);
  [[nodiscard]] Result<std::size_t> write(std::span<const std::byte> bytes);
  [[nodiscard]] Status flush();
  [[nodiscard]] Status cut(std::size_t most, const Take& take);
  void make_room();

  const std::unique_ptr<queuevm::ByteStream> stream_;
  const std::unique_ptr<Memory> memory_;
  const bool exclusive_;
  // Of who sends.
  std::mutex mutex_;
  std::string out_;  // from out_begin_ on it waits for room
  std::size_t out_begin_ = 0;
  std::atomic<bool> waiting_{false};
  std::atomic<std::uint64_t> left_{0};
  // Of who receives.
  std::vector<std::byte> in_;
  std::size_t in_begin_ = 0;
  std::size_t in_end_ = 0;
};

}  // namespace mvm::rmix::native
