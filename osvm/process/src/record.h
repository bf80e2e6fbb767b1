#pragma once
// The record of one VM on disk: docs/formats/process-vm.md.

#include <filesystem>
#include <string>
#include <vector>

#include "mvm/osvm/vm_spec.h"

namespace mvm::osvm::process {

/// A VM and its supervisor.
struct Record {
  VmInfo info;
  pid_t supervisor = 0;
  std::uint64_t start_ticks = 0;  ///< with the boot's id, the supervisor's identity beyond its pid
  std::string boot;
};

[[nodiscard]] std::string boot_id();
[[nodiscard]] Status write_record(const std::filesystem::path& state, const Record& record);
/// kCorrupt where the file is not a record.
[[nodiscard]] Result<Record> read_record(const std::filesystem::path& file);
[[nodiscard]] std::vector<Record> read_records(const std::filesystem::path& state);
[[nodiscard]] std::filesystem::path record_file(const std::filesystem::path& state, const std::string& id);
[[nodiscard]] std::filesystem::path end_note_file(const std::filesystem::path& state, const std::string& id);
void remove_record(const std::filesystem::path& state, const std::string& id);

}  // namespace mvm::osvm::process
