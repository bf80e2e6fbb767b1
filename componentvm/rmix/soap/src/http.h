#pragma once
// HTTP/1.1 of both ends, one exchange at a time, within deadlines and bounds.

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "mvm/soap/connection.h"
#include "mvm/soap/http_head.h"

namespace mvm::rmix::soap {

inline constexpr std::size_t kMostHead = 16 << 10;
inline constexpr std::size_t kMostHeadLines = 64;

/// A connection and what of it was read ahead.
struct Stream {
  std::unique_ptr<mvm::soap::Connection> link;
  std::string ahead;
};

/// A request that came whole.
struct HttpRequest {
  mvm::soap::HttpHead head;
  std::string body;
};
/// Waits for the next request until `idle`, and for all of it until `within` after its first byte.
/// kUnavailable: the connection ended, kTimeout, kInvalid: not to be answered but with `status`.
[[nodiscard]] Result<HttpRequest> read_request(Stream& stream, Clock::Instant idle,
                                               std::chrono::milliseconds within, int& status);

struct HttpAnswer {
  int status = 0;
  bool keep_alive = true;
  std::string body;
};
/// kUnavailable, kTimeout, kCorrupt.
[[nodiscard]] Result<HttpAnswer> read_answer(Stream& stream, Clock::Instant deadline);

/// A whole answer.
[[nodiscard]] std::string answer(int status, std::string_view type, std::string_view body, bool keep_alive);

}  // namespace mvm::rmix::soap
