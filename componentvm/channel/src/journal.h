#pragma once
// The events that were told and not acknowledged, in a file that outlives the kernel process.

#include <cstdint>
#include <deque>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/frame.h"
#include "mvm/channel/kernel_end.h"

namespace mvm::channel {

/// One event in the journal.
struct JournalEntry {
  PendingEvent meta;
  nlohmann::json args;
  std::string blob;
};

/// A file of frames: {"boot","next"} first, then {"seq",...} an event, {"acked":N}, {"withdrawn":GROUP}. Not
/// thread-safe. It need not survive the machine: it is not synced.
class Journal {
 public:
  /// Reads the file; starts a new one where there is none, or it is of another boot. A frame that was cut by
  /// the writer's death is cut off.
  [[nodiscard]] static Result<Journal> open(std::filesystem::path path, std::string boot);

  /// Writes an event; answers its number, 0 where its mark is waiting already.
  [[nodiscard]] Result<std::uint64_t> append(NewEvent event);
  /// The events up to `seq` that are still here.
  [[nodiscard]] std::vector<PendingEvent> up_to(std::uint64_t seq) const;
  /// Forgets events up to `seq`.
  void acknowledge(std::uint64_t seq);
  void withdraw(const std::string& group);
  /// The first event after `seq`; null where there is none.
  [[nodiscard]] const JournalEntry* after(std::uint64_t seq) const;
  [[nodiscard]] const std::deque<JournalEntry>& entries() const { return entries_; }

 private:
  Journal() = default;
  Status load();
  void apply(Frame frame);
  Status write(const std::string& bytes);
  Status rewrite();
  void compact();

  std::filesystem::path path_;
  std::string boot_;
  UniqueFd fd_;
  std::uint64_t next_ = 1;
  std::uint64_t size_ = 0;  // of the file
  std::deque<JournalEntry> entries_;
  std::set<std::string> marks_;
};

}  // namespace mvm::channel
