#pragma once
// Two rings of bytes in memory that two processes of one host share, and the UNIX socket over which one
// handed it to the other. The socket carries bells to who sleeps, and its end tells at once that the other
// one is gone. docs/formats/rmix-native.md.
//
// What the other side writes may be wrong at any time: our own places are kept here and never read back, the
// other side's are read once and checked, and bytes are copied out before anybody looks at them.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::rmix::native {

/// One end. One thread at a time reads, one writes.
class Memory {
 public:
  /// The server's end: makes the memory and hands it out.
  [[nodiscard]] static Result<std::unique_ptr<Memory>> make(UniqueFd socket);
  /// The client's end.
  [[nodiscard]] static Result<std::unique_ptr<Memory>> join(UniqueFd socket, Clock::Instant deadline);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] int fd() const { return socket_.get(); }
  /// Bytes moved; 0: nothing there. No system call but where the other side sleeps.
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buffer);
  /// Bytes moved; where these are not all, the other side rings once there is room.
  [[nodiscard]] Result<std::size_t> write(std::span<const std::byte> bytes);
  /// Something to read, or a place that is wrong.
  [[nodiscard]] bool readable() const;
  /// The reader will sleep on fd(). False: there is something to read already.
  [[nodiscard]] bool arm();
  void disarm();
  /// Takes what rang. kUnavailable where the other side is gone.
  [[nodiscard]] Status hear();

 private:
  struct Ring;
  Memory(UniqueFd socket, std::byte* begin, bool server);
  void ring() const;

  UniqueFd socket_;
  std::byte* begin_;
  Ring* in_;
  Ring* out_;
  std::uint64_t head_ = 0;  // our own places: written in out_, read in in_
  std::uint64_t tail_ = 0;
};

}  // namespace mvm::rmix::native
