#pragma once
// Messages on standard input and output: one a line, each after its size, or all in one.

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm::cli {

enum class Framing {
  kLines,  ///< a message a line; the line feed is not part of it
  kSize,   ///< each message follows its size: 4 bytes, the least significant first
  kWhole,  ///< reading: all of the input is one message; writing: the bytes alone
};

inline constexpr std::size_t kMostMessage = std::size_t{1} << 20;

/// The next message; nothing at the end of the input. kExhausted above kMostMessage, kInvalid where the input
/// ends inside a message.
[[nodiscard]] Result<std::optional<std::string>> read_message(std::istream& in, Framing framing);

/// Writes a message, or a piece of one: `first` and `last` say which, `size` that of the whole.
void write_message(std::ostream& out, Framing framing, std::string_view piece, std::uint64_t size, bool first,
                   bool last);

/// True for UTF-8.
[[nodiscard]] bool is_text(std::string_view bytes);

/// A job, and a port or link of it.
struct JobPart {
  std::string job, part;
};
/// JOB.PART at the first dot. kInvalid says what was `expected`.
[[nodiscard]] Result<JobPart> job_part(const std::string& text, const std::string& expected);

}  // namespace mvm::cli
