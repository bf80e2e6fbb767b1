#include "mvm/topologies/diagnostic.h"

#include <algorithm>
#include <numeric>

namespace mvm::topologies {
namespace {

/// Edit distance (insert, delete, replace, swap of neighbours), no more than `limit` + 1.
std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t limit) {
  if (a.size() > b.size() + limit || b.size() > a.size() + limit) return limit + 1;
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last = last;
    last = row;
  }
  return last[b.size()];
}

}  // namespace

std::string Diagnostic::text() const {
  return suggestion.empty() ? message : message + "; did you mean " + suggestion + "?";
}

std::string Diagnostic::describe() const {
  std::string place = file;
  if (line > 0) place += ":" + std::to_string(line) + ":" + std::to_string(column);
  return place + ": error: " + text();
}

std::string describe(const std::vector<Diagnostic>& diagnostics) {
  std::string lines;
  for (const Diagnostic& diagnostic : diagnostics) lines += diagnostic.describe() + "\n";
  return lines;
}

Error to_error(const std::vector<Diagnostic>& diagnostics) {
  std::string lines;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (!lines.empty()) lines += "\n";
    lines += diagnostic.describe();
  }
  Error error(ErrorCode::kInvalid, lines);
  const Diagnostic& first = diagnostics.front();
  error.at(SourcePosition{first.file, first.line, first.column});
  return error;
}

std::string near_miss(std::string_view wanted, const std::vector<std::string>& candidates) {
  if (wanted.empty() || wanted.size() > 256) return {};
  const std::size_t limit = std::clamp<std::size_t>((wanted.size() + 2) / 4, 1, 3);
  std::size_t best = limit + 1;
  std::string found;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(wanted, candidate, limit);
    if (distance < best && distance < std::max(wanted.size(), candidate.size())) {
      best = distance;
      found = candidate;
    }
  }
  if (!found.empty()) return found;
  // "right" for "to-right": one of them is contained in the other.
  for (const std::string& candidate : candidates) {
    const bool inside =
        candidate.find(wanted) != std::string::npos || wanted.find(candidate) != std::string::npos;
    if (inside && wanted.size() >= 3 && candidate.size() >= 3) return candidate;
  }
  return {};
}

}  // namespace mvm::topologies
