#pragma once
// Values as people read them: widths, sizes, times. Pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mvm::cli {

/// Columns a terminal needs for UTF-8 text: wide characters count two, combining ones none.
[[nodiscard]] std::size_t display_width(std::string_view text);

/// The text cut to `columns`, with "…" where something was cut off.
[[nodiscard]] std::string cut(std::string_view text, std::size_t columns);

/// One line that cannot move a terminal's cursor: control characters and invalid UTF-8 become "?".
[[nodiscard]] std::string one_line(std::string_view text);

/// Output of somebody's program for a terminal: line ends, tabs and colours stay, all other control
/// sequences go.
[[nodiscard]] std::string harmless(std::string_view text);

/// "256 MiB", "1.5 GiB", "17 B".
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);

/// "0:07", "1:02:03", "2-03:04:05".
[[nodiscard]] std::string human_duration(std::int64_t milliseconds);

/// Nanoseconds: "850ns", "12.3us", "4.56ms", "17.0s"; three digits.
[[nodiscard]] std::string human_latency(std::uint64_t nanoseconds);

/// Local "2026-01-31 08:05:09"; "-" for 0.
[[nodiscard]] std::string local_time(std::int64_t wall_ms);

/// ISO 8601 in UTC for JSON; empty for 0.
[[nodiscard]] std::string iso_time(std::int64_t wall_ms);

[[nodiscard]] std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// "1 node", "3 nodes".
[[nodiscard]] std::string count_of(std::uint64_t count, std::string_view noun);

}  // namespace mvm::cli
