// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bookkeeping of a cell queue: everything that happens under its lock. A process may be killed at any
// instruction here. The cells' own states are the truth and change by one store each; all lists and counters
// follow from them and are rebuilt by the next one to take the lock of a dead holder.

#include "region.h"

namespace mvm::ring {

/// One message in the making or in the queue, in private memory and checked.
struct CellCopy {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

class CellBook {
 public:
  explicit CellBook(const Region& region)
      : region_(&region), table_(&region.cells()), count_(region.geometry().cell_count) {}

  /// Takes the lock for the end with slot index `me` (slot_count(): a manager that holds that claim). False
  /// where a living process kept it beyond `until`.
  bool lock(std::uint32_t me, std::int64_t until);
  void unlock();

  // ---- with the lock held ----

  /// True where an impossible value was found; everything fails from then on.
  [[nodiscard]] bool broken() const;
  /// A reserved cell, or kNone where there is no room.
  std::uint32_t allocate(std::uint64_t size, std::uint32_t owner);
  /// Reserved to ready, at the end of its level. Wakes one consumer.
  /// `sampled`: when that is, in ns, where its way is to be timed; else 0.
  void make_ready(std::uint32_t index, std::uint64_t size, std::uint32_t priority, std::uint64_t key,
                  std::int64_t sampled);
  /// The next message's cell without taking it, or kNone. Drops messages that have waited too long.
  std::uint32_t first();
  /// Drops the oldest messages of all levels that have waited too long. Returns how many.
  std::uint32_t expire();
  /// Milliseconds until the next message has waited too long; kMaxTtl where there is none.
  [[nodiscard]] std::uint64_t until_expiry() const;
  /// Ready to taken.
  bool take(std::uint32_t index, std::uint32_t owner);
  /// Frees a cell that is reserved or taken by `owner`. False where it is not.
  bool discard(std::uint32_t index, std::uint32_t owner);
  /// Takes a message away that is the first of its level. False where it is not.
  bool drain(std::uint32_t index);
  /// Drops the oldest message of the lowest priority, if that is at most `priority`.
  bool drop_oldest(std::uint32_t priority);
  /// The owner's process is gone: what it had reserved is freed, what it had taken goes back.
  void reap(std::uint32_t owner);
  /// The cell's place, checked against the data's bounds.
  bool locate(std::uint32_t index, CellCopy& copy);
  /// Wakes one sleeping consumer if messages are there.
  void wake_consumer();

  [[nodiscard]] CellTable& table() const { return *table_; }

 private:
  void rebuild(std::uint32_t gone);
  void fail();
  bool valid(std::uint32_t index) const { return index < count_; }
  std::uint64_t place(std::uint64_t length, std::uint32_t& below);
  void link_address(std::uint32_t index, std::uint32_t below);
  void unlink_address(std::uint32_t index);
  void release_cell(std::uint32_t index);
  void append(std::uint32_t index, std::uint32_t priority);
  void put_back(std::uint32_t index);
  void remove_head(std::uint32_t level, std::uint32_t index);
  [[nodiscard]] bool too_old(std::uint32_t index) const;
  std::uint32_t expire_level(std::uint32_t level);

  const Region* region_;
  CellTable* table_;
  std::uint32_t count_;
};

}  // namespace mvm::ring
