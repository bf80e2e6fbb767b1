#pragma once
// Where a process that follows this one finds the machine: those that hold the log, and some others. Lost
// with the power, as it may be.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mvm/dvm/address.h"
#include "mvm/dvm/status.h"

namespace mvm::dvm {

/// Kernels that may know where the machine is, best first: those that hold the log, those that are there, and
/// a few of the others: when a machine ends, each of its kernels is the only one that is there for some time.
[[nodiscard]] std::vector<std::string> addresses_of(const VmStatus& status, const std::string& self);

class Peers {
 public:
  Peers(std::filesystem::path file, std::string self) : file_(std::move(file)), self_(std::move(self)) {}
  /// Reads what a former process of this kernel knew.
  void recall();
  /// Writes what this one knows, where that has changed.
  void remember(const VmStatus& view);
  [[nodiscard]] bool none_remembered() const { return remembered_.empty(); }
  [[nodiscard]] const std::vector<Endpoint>& recalled() const { return recalled_; }

 private:
  const std::filesystem::path file_;
  const std::string self_;
  std::vector<Endpoint> recalled_;
  std::string remembered_;
  std::uint64_t remembered_at_ = 0;
};

}  // namespace mvm::dvm
