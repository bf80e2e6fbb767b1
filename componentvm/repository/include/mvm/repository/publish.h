#pragma once
// Making a repository: a folder that any web server can serve.

#include <filesystem>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/repository/entry.h"
#include "mvm/repository/trust.h"

namespace mvm::repository {

/// Copies a plug-in, or the folder or archive of its source, into the repository and enters it into its
/// index, in place of what it held for that plug-in and architecture. Each step is durable and leaves a
/// repository that can be read; the index comes last. Of several publishers at once each is done in turn.
class Publisher {
 public:
  /// Makes the folder where it is missing. `key`: signs with it; without, nothing is signed.
  [[nodiscard]] static Result<Publisher> open(const std::filesystem::path& folder, const SigningKey* key);

  /// A shared object, under its own name; for which architecture, it says itself. kInvalid, kCorrupt.
  [[nodiscard]] Result<Entry> add(const std::filesystem::path& file);
  /// A source archive (docs/formats/repository.md) that `command` turns into the file `plugin`.
  [[nodiscard]] Result<Entry> add_source(const std::filesystem::path& archive, const std::string& plugin,
                                         const std::string& command);

 private:
  Publisher(std::filesystem::path folder, const SigningKey* key) : folder_(std::move(folder)), key_(key) {}
  Result<Entry> enter(Entry entry, const std::string& bytes);
  std::filesystem::path folder_;
  const SigningKey* key_;
};

}  // namespace mvm::repository
