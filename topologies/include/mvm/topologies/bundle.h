#pragma once
// Profiles travel as one literal XML: what they refer to by path is put in line, sources become digests.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/topologies/diagnostic.h"
#include "mvm/topologies/reader.h"

namespace mvm::topologies {

/// A file or folder of the client that the profile needs.
struct FileUse {
  std::string path;    ///< relative to the main file's folder
  bool stage = false;  ///< true: staged as it is; false: source, a folder is packed
  bool operator==(const FileUse&) const = default;
};

struct Bundle {
  std::string xml;             ///< self-contained but for `files` and registered names
  std::vector<FileUse> files;  ///< each once, in the order of their first use
};

struct BundleResult {
  std::vector<Diagnostic> diagnostics;  ///< empty: it worked
  Bundle bundle;
};

/// Puts topologies, jobs, images and policies that are referred to by path in line, and lists the files to
/// upload. Checks structure only: use read_profile() before. Paths of nested files are made relative to the
/// main file.
[[nodiscard]] BundleResult bundle(std::string_view xml, const std::string& file_name, Resolver& resolver);

/// What a path became in the store.
struct Blob {
  std::string digest;  ///< SHA-256, hexadecimal
  bool file = false;   ///< the blob is the file itself; false: an archive of the folder, or an archive
};

/// Replaces each `path` of a source by digest and name, and adds the digest to each `stage in`. All else
/// stays as it is, byte for byte. kNotFound names a path that `blobs` lacks; kInvalid where the XML fails the
/// gate.
[[nodiscard]] Result<std::string> rewrite_sources(std::string_view xml,
                                                  const std::map<std::string, Blob>& blobs);

}  // namespace mvm::topologies
