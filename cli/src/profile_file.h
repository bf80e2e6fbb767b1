#pragma once
// From a user's file to what travels: read, put in one piece, sources packed, blobs uploaded.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "grammar.h"
#include "mvm/soap/broker_api.h"
#include "mvm/topologies/bundle.h"
#include "mvm/topologies/reader.h"
#include "session.h"

namespace mvm::cli {

/// FILE [--set p=v]...
struct FileOptions {
  std::string file;
  std::vector<std::string> set;
};
std::shared_ptr<FileOptions> add_file(Grammar& grammar, CLI::App& verb);

/// "p=v" pairs. kInvalid for one without "=", or a name given twice with different values.
[[nodiscard]] Result<std::map<std::string, std::string>> parse_settings(const std::vector<std::string>& set,
                                                                        const std::string& what = "--set: ");

/// Reads and expands the file. kInvalid carries all of its faults, one a line.
[[nodiscard]] Result<topologies::Profile> read_profile(const FileOptions& options);

/// A file to upload, by digest.
struct Upload {
  std::string digest;
  std::filesystem::path content;  ///< the file itself, or the archive made of a folder
  std::uint64_t size = 0;
  std::string label;  ///< as the profile names it
};

/// A profile ready to travel. Removes its archives when destroyed.
class Prepared {
 public:
  /// Reads, bundles, packs. Nothing is sent.
  [[nodiscard]] static Result<Prepared> prepare(Session& session, const FileOptions& options);
  Prepared(Prepared&&) noexcept;
  Prepared& operator=(Prepared&&) noexcept;
  ~Prepared();

  topologies::Profile profile;
  soap::SubmitRequest request;  ///< profile as XML with digests, settings, file name
  std::vector<Upload> uploads;

 private:
  Prepared();
  /// Makes an upload of a file or folder that the profile needs.
  [[nodiscard]] Result<topologies::Blob> take(Session& session, const std::filesystem::path& base,
                                              const topologies::FileUse& use);
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

/// Sends those blobs that the store lacks. Number of blobs sent.
[[nodiscard]] Result<std::size_t> upload_missing(Session& session, const std::vector<Upload>& uploads);

}  // namespace mvm::cli
