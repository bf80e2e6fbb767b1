#pragma once
// What waits to be written to a peer.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/queuevm/proxy.h"

namespace mvm::queuevm::link {

/// Bytes in order: small ones of its own, and long payloads that lie in a queue and are lent until the end of
/// the next write().
class OutBytes {
 public:
  /// For appending bytes behind all that is here.
  [[nodiscard]] std::string& tail() { return own_; }
  /// Appends bytes that stay where they are, and as they are, until write() returns. Few are copied.
  void lend(std::span<const std::byte> bytes);
  /// Bytes that are not written yet.
  [[nodiscard]] std::size_t size() const { return own_.size() - own_written_ + lent_bytes_; }
  /// Writes what the stream takes; the bytes written. What was lent and is not written is copied.
  Result<std::size_t> write(ByteStream& stream);

 private:
  struct Lent {
    std::size_t at = 0;  // before this byte of own_
    std::span<const std::byte> bytes;
  };
  std::size_t gather(std::span<std::span<const std::byte>> pieces) const;
  void advance(std::size_t count);
  void keep();

  std::string own_;
  std::string spare_;  // for keep()
  std::vector<Lent> lent_;
  std::size_t own_written_ = 0;
  std::size_t first_ = 0;  // of lent_ that is not written
  std::size_t lent_bytes_ = 0;
};

}  // namespace mvm::queuevm::link
