#pragma once
// What processes, compilers and exec'd programs said, kept in pieces, each once. Loop thread only.

#include <map>
#include <string>

#include "core.h"
#include "records.h"

namespace mvm::broker {

/// Logs are named by their owner: "job/12", "build/KEY", "exec/3".
class Logs {
 public:
  explicit Logs(Core& core) : core_(core) {}

  /// Appends a piece. What was appended before (by its offset in its stream) is left out; a gap is kept as it
  /// is.
  void append(const std::string& owner, LogRecord piece);
  /// A line of the broker's own.
  void note(const std::string& owner, const std::string& stream, const std::string& text);
  /// Pieces after the cursor, of one process (empty: all); at most about 1 MiB. `more`: there are further
  /// ones.
  struct Page {
    std::vector<soap::LogPiece> pieces;
    std::uint64_t cursor = 0;
    bool more = false;
  };
  [[nodiscard]] Result<Page> read(const std::string& owner, const std::string& process, std::uint64_t cursor);
  /// The last bytes of a log, for messages.
  [[nodiscard]] std::string tail(const std::string& owner, std::size_t bytes);
  /// Number of the last piece.
  [[nodiscard]] std::uint64_t last(const std::string& owner);
  void erase(const std::string& owner);
  /// No more is expected: frees its memory.
  void close(const std::string& owner) { logs_.erase(owner); }

 private:
  struct Log {
    std::uint64_t last = 0;
    std::uint64_t bytes = 0;
    bool full = false;
    std::map<std::string, std::uint64_t> ends;  ///< "process\nstream" → offset after the last byte
  };
  Log& find(const std::string& owner);

  Core& core_;
  std::map<std::string, Log> logs_;
};

}  // namespace mvm::broker
