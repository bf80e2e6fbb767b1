#pragma once
// The one reader of lab, topology, job, image and policy files (docs/formats/). Pure but for its Resolver.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/topologies/diagnostic.h"
#include "mvm/topologies/limits.h"
#include "mvm/topologies/profile.h"

namespace mvm::topologies {

/// A file that another one refers to.
struct ResolvedFile {
  std::string file_name;  ///< for diagnostics, and what its own relative references start from
  std::string text;
};

/// Finds what a `ref` (or image="...") means. Called on the reader's thread.
class Resolver {
 public:
  virtual ~Resolver() = default;
  /// A registered or shipped file: `name` has no slash and no suffix. kNotFound where there is none.
  [[nodiscard]] virtual Result<ResolvedFile> find(DocumentKind kind, const std::string& name) = 0;
  /// A file by path relative to the referring file's folder. kRefused unless this side opens paths.
  [[nodiscard]] virtual Result<ResolvedFile> open(const std::string& path, const std::string& referring_file);
  /// All names that find() knows, for suggestions.
  [[nodiscard]] virtual std::vector<std::string> names(DocumentKind kind) = 0;
};

/// Knows what the product ships: topologies, images, policies. Opens no path: the broker's base.
class ShippedResolver : public Resolver {
 public:
  [[nodiscard]] Result<ResolvedFile> find(DocumentKind kind, const std::string& name) override;
  [[nodiscard]] std::vector<std::string> names(DocumentKind kind) override;
};

/// Also opens paths, relative to the referring file: the command line's.
class FileResolver : public ShippedResolver {
 public:
  [[nodiscard]] Result<ResolvedFile> open(const std::string& path,
                                          const std::string& referring_file) override;
};

struct ReadOptions {
  std::map<std::string, std::string> set;  ///< --set: beats <set> and defaults
  Resolver* resolver = nullptr;            ///< not owned; null: what is shipped, no paths
  GraphLimits limits;                      ///< of the expanded topology
};

/// A profile, or all of the file's faults.
struct ReadResult {
  std::optional<Profile> profile;
  std::vector<Diagnostic> diagnostics;  ///< not empty where there is no profile; sorted by position
  [[nodiscard]] bool ok() const { return profile.has_value(); }
};

/// Reads a file of any root: gate (XSD), model, parameters, references, expansion. `file_name` is for
/// messages and for relative references only; nothing is opened but through the resolver. Thread-safe.
[[nodiscard]] ReadResult read_profile(std::string_view xml, const std::string& file_name,
                                      const ReadOptions& options = {});

/// The same for a file on disk; kMaxFileBytes at most.
[[nodiscard]] ReadResult read_profile_file(const std::filesystem::path& path,
                                           const ReadOptions& options = {});

/// Only the gate: well-formed, within the limits, valid by the XSD of its root. Empty: accepted.
[[nodiscard]] std::vector<Diagnostic> validate_schema(std::string_view xml, const std::string& file_name);

}  // namespace mvm::topologies
