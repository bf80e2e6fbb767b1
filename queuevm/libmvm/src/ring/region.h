// SPDX-License-Identifier: Apache-2.0
#pragma once
// A queue's file in this process's memory.

#include <string>

#include "layout.h"

namespace mvm::ring {

/// The broken bound in words, or nullptr.
const char* check(const Spec& spec);
/// Where everything lies for a checked spec.
Geometry geometry_of(const Spec& spec);

/// Sizes a fresh file, allocates its pages and writes the empty queue. 0 or an errno.
int format(int fd, const Spec& spec);

/// A mapped queue. Not copyable; unmapped and closed by the destructor.
class Region {
 public:
  Region() = default;
  Region(Region&& other) noexcept { swap(other); }
  Region& operator=(Region&& other) noexcept {
    swap(other);
    return *this;
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  /// Maps the file and checks its header. Takes the descriptor, on success only. MVM_OK, MVM_ECORRUPT,
  /// MVM_ESYS. An observer's memory is read only: whoever changes something through it dies of it.
  int open(int fd, std::string& why, bool observer = false);

  [[nodiscard]] bool is_open() const { return base_ != nullptr; }
  [[nodiscard]] const Spec& spec() const { return spec_; }
  [[nodiscard]] const Geometry& geometry() const { return geometry_; }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] Shared& shared() const { return *reinterpret_cast<Shared*>(base_ + kSharedAt); }
  [[nodiscard]] Latencies& latencies() const { return *reinterpret_cast<Latencies*>(base_ + kLatenciesAt); }
  [[nodiscard]] Slot& slot(std::uint32_t index) const {
    return reinterpret_cast<Slot*>(base_ + geometry_.slots_at)[index];
  }
  [[nodiscard]] std::uint32_t slot_count() const { return spec_.producers + spec_.consumers; }
  [[nodiscard]] CellTable& cells() const { return *reinterpret_cast<CellTable*>(base_ + geometry_.cells_at); }
  [[nodiscard]] Cell& cell(std::uint32_t index) const {
    return reinterpret_cast<Cell*>(base_ + geometry_.cells_at + sizeof(CellTable))[index];
  }
  [[nodiscard]] ClaimTable& claim_table() const {
    return *reinterpret_cast<ClaimTable*>(base_ + geometry_.cells_at);
  }
  /// The places of a claim queue; cell_count of them, a power of two.
  [[nodiscard]] Place* places() const {
    return reinterpret_cast<Place*>(base_ + geometry_.cells_at + sizeof(ClaimTable));
  }
  /// The messages' bytes. But for cells mapped twice in a row, so that nothing has to wrap.
  [[nodiscard]] std::byte* data() const { return reinterpret_cast<std::byte*>(base_ + geometry_.data_at); }

  /// Claims, on this file description, the proof that the slot's process lives. False: another one holds it.
  [[nodiscard]] bool claim(std::uint32_t index) const;
  void unclaim(std::uint32_t index) const;
  /// False where no other file description claims the slot. Do not ask about a slot claimed by this region.
  [[nodiscard]] bool claimed(std::uint32_t index) const;

 private:
  void swap(Region& other) noexcept;
  char* base_ = nullptr;
  std::size_t mapped_ = 0;
  int fd_ = -1;
  Spec spec_;
  Geometry geometry_;
};

/// A new open file description of the same file. -1 and errno.
int reopen(int fd);

}  // namespace mvm::ring
