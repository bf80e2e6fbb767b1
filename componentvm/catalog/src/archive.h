#pragma once
// What a server knows, in a file: everything it was told that still counts, and how far it knows each party.

#include <filesystem>

#include "mvm/base/sqlite/database.h"
#include "mvm/catalog/state.h"

namespace mvm::catalog {

class Archive {
 public:
  [[nodiscard]] static Result<Archive> open(const std::filesystem::path& file);
  [[nodiscard]] Result<State> load();
  /// Durable when it returns.
  [[nodiscard]] Status write(const std::vector<Delta>& deltas);
  [[nodiscard]] Status forget(std::int64_t now_ms);

 private:
  [[nodiscard]] Status write_one(const Assertion& assertion);

  sqlite::Database database_;
  sqlite::Statement put_, replace_, known_, expire_;
};

}  // namespace mvm::catalog
