#pragma once
// Who belongs to a group, and which of their lives are over. A value that only grows: merging two rosters in
// any order, any number of times, gives the same, so members simply exchange theirs. docs/formats/replica.md,
// ADR 155.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mvm::replica {

struct RosterEntry {
  std::uint64_t id = 0;
  std::string address;          ///< of its newest life
  std::uint64_t life = 0;       ///< newest noted; 0: expected, never seen
  std::uint64_t dead_life = 0;  ///< newest confirmed dead
  bool gone = false;            ///< left in good order, or its copy is lost: no life of it counts any more
  bool operator==(const RosterEntry&) const = default;
  [[nodiscard]] bool alive() const { return !gone && (life == 0 || life > dead_life); }
};

class Roster {
 public:
  /// Takes over what the entry knows more. True where something changed.
  bool merge(const RosterEntry& entry);
  /// A life that is over. True where something changed; an unknown member changes nothing.
  bool bury(std::uint64_t id, std::uint64_t life);
  bool retire(std::uint64_t id);

  [[nodiscard]] const RosterEntry* find(std::uint64_t id) const;
  [[nodiscard]] bool alive(std::uint64_t id) const;
  [[nodiscard]] std::vector<std::uint64_t> living() const;  ///< rising
  [[nodiscard]] std::vector<RosterEntry> entries() const;   ///< rising by id
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  std::map<std::uint64_t, RosterEntry> entries_;
};

}  // namespace mvm::replica
