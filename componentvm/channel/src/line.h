#pragma once
// What both ends share: waking a poll, the words of a session, the bounds that keep events from drowning
// answers.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "mvm/base/error.h"
#include "mvm/base/frame.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::channel {

/// Events that may be on the way, sent and not acknowledged: the kernel keeps within half of what the host
/// takes.
inline constexpr std::size_t kEventWindow = 64;
inline constexpr std::size_t kEventWindowBytes = 2 << 20;
/// Bytes that may wait in an output queue before more is put there.
inline constexpr std::size_t kOutputWindow = 1 << 20;

/// An eventfd that ends a poll.
class Wake {
 public:
  Wake();
  [[nodiscard]] int fd() const { return fd_.get(); }
  void set();
  void clear();

 private:
  UniqueFd fd_;
};

/// Zeros longer than any frame: what a broken frame on a serial line swallows instead of the next hello.
inline constexpr std::size_t kSerialPadding = kFrameHeader + kMaxFrameText + kMaxFrameBlob;

[[nodiscard]] nlohmann::json error_to_json(const Error& error);
/// Bounded: a hostile peer's message is cut at 4 KiB.
[[nodiscard]] Error error_from_json(const nlohmann::json& object);

}  // namespace mvm::channel
