#include "profile_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "common.h"
#include "follow.h"
#include "format.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/topologies/limits.h"

namespace mvm::cli {
namespace {

constexpr std::size_t kPiece = 256 << 10;

constexpr std::array kArchives = {".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2", ".zip"};

bool is_archive(const std::string& path) {
  return std::any_of(kArchives.begin(), kArchives.end(),
                     [&](const char* suffix) { return path.ends_with(suffix); });
}

/// Up to `limit` bytes; empty at the end.
Result<std::string> read_piece(int fd, std::size_t limit) {
  std::string piece(limit, '\0');
  for (;;) {
    const ssize_t got = read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read");
    piece.resize(static_cast<std::size_t>(got));
    return piece;
  }
}

}  // namespace

std::shared_ptr<FileOptions> add_file(Grammar& grammar, CLI::App& verb) {
  auto options = std::make_shared<FileOptions>();
  grammar.completes(verb.add_option("FILE", options->file, "job, lab or topology file")->required(),
                    Completes::kFile);
  verb.add_option("--set", options->set, "gives a parameter a value; may be repeated")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return options;
}

Result<std::map<std::string, std::string>> parse_settings(const std::vector<std::string>& set,
                                                          const std::string& what) {
  std::map<std::string, std::string> result;
  for (const std::string& setting : set) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Error(ErrorCode::kInvalid, what + "found '" + setting + "', expected NAME=VALUE");
    }
    const std::string name = setting.substr(0, equals);
    const auto [at, fresh] = result.emplace(name, setting.substr(equals + 1));
    if (!fresh && at->second != setting.substr(equals + 1)) {
      return Error(ErrorCode::kInvalid, what + "found two values for '" + name + "', expected one");
    }
  }
  return result;
}

Result<topologies::Profile> read_profile(const FileOptions& options) {
  MVM_ASSIGN(const auto settings, parse_settings(options.set));
  std::error_code failure;
  if (!std::filesystem::is_regular_file(options.file, failure)) {
    const bool there = std::filesystem::exists(options.file, failure);
    return Error(ErrorCode::kInvalid, options.file + ": found " + (there ? "no plain file" : "nothing") +
                                          ", expected a job, lab or topology file");
  }
  topologies::FileResolver resolver;
  topologies::ReadResult read = topologies::read_profile_file(options.file, {settings, &resolver});
  if (!read.ok()) return topologies::to_error(read.diagnostics);
  return std::move(*read.profile);
}

/// A folder for archives, gone with its owner.
struct Prepared::Scratch {
  explicit Scratch(std::filesystem::path path) : folder(std::move(path)) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  // What cannot be removed here is a temporary file: the system's own cleaning finds it.
  ~Scratch() { static_cast<void>(remove_tree(folder)); }
  std::filesystem::path folder;
};

Prepared::Prepared() = default;
Prepared::Prepared(Prepared&&) noexcept = default;
Prepared& Prepared::operator=(Prepared&&) noexcept = default;
Prepared::~Prepared() = default;

Result<topologies::Blob> Prepared::take(Session& session, const std::filesystem::path& base,
                                        const topologies::FileUse& use) {
  const std::filesystem::path path = (base / use.path).lexically_normal();
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  const bool folder = std::filesystem::is_directory(status);
  if ((use.stage && folder) || (!folder && !std::filesystem::is_regular_file(status))) {
    const char* found = folder ? "a folder" : std::filesystem::exists(status) ? "no plain file" : "nothing";
    return Error(ErrorCode::kInvalid, "'" + use.path + "': found " + found + " at " + path.string() +
                                          ", expected " +
                                          (use.stage ? "a file" : "a folder, an archive or a file"));
  }
  Upload upload{"", path, 0, use.path};
  topologies::Blob blob;
  if (folder) {
    if (!scratch_) {
      MVM_ASSIGN(auto made, make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-pack-"));
      scratch_ = std::make_unique<Scratch>(std::move(made));
    }
    upload.content = scratch_->folder / (std::to_string(uploads.size()) + ".tar");
    MVM_TRY(session.context().pack(path, upload.content));
  } else {
    blob.file = use.stage || !is_archive(use.path);
  }
  MVM_ASSIGN(upload.digest, sha256_of_file(upload.content));
  upload.size = std::filesystem::file_size(upload.content, failure);
  blob.digest = upload.digest;
  uploads.push_back(std::move(upload));
  return blob;
}

Result<Prepared> Prepared::prepare(Session& session, const FileOptions& options) {
  Prepared result;
  MVM_ASSIGN(result.profile, read_profile(options));
  MVM_ASSIGN(const std::string xml, read_file(options.file, topologies::kMaxFileBytes));
  topologies::FileResolver resolver;
  topologies::BundleResult bundled = topologies::bundle(xml, options.file, resolver);
  if (!bundled.diagnostics.empty()) return topologies::to_error(bundled.diagnostics);

  const std::filesystem::path base = std::filesystem::path(options.file).parent_path();
  std::map<std::string, topologies::Blob> blobs;
  ProgressLine progress(session);
  for (const topologies::FileUse& use : bundled.bundle.files) {
    progress.show("packing " + use.path);
    MVM_ASSIGN(blobs[use.path], result.take(session, base, use));
  }
  MVM_ASSIGN(result.request.profile, topologies::rewrite_sources(bundled.bundle.xml, blobs));
  MVM_ASSIGN(const auto settings, parse_settings(options.set));
  result.request.settings.insert(settings.begin(), settings.end());
  result.request.file = options.file;
  return result;
}

Result<std::size_t> upload_missing(Session& session, const std::vector<Upload>& uploads) {
  if (uploads.empty()) return std::size_t{0};
  MVM_ASSIGN(auto api, session.api());
  std::vector<std::string> digests;
  for (const Upload& upload : uploads) {
    if (std::find(digests.begin(), digests.end(), upload.digest) == digests.end())
      digests.push_back(upload.digest);
  }
  MVM_ASSIGN(const auto missing, api.store.missing_blobs(session.caller(), digests));
  const std::set<std::string> wanted(missing.begin(), missing.end());
  std::set<std::string> sent;
  ProgressLine progress(session);
  for (const Upload& upload : uploads) {
    if (!wanted.contains(upload.digest) || !sent.insert(upload.digest).second) continue;
    UniqueFd fd(open(upload.content.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open " + upload.content.string());
    std::uint64_t done = 0;
    const auto next = [&]() -> Result<std::string> {
      MVM_ASSIGN(std::string piece, read_piece(fd.get(), kPiece));
      done += piece.size();
      progress.show("uploading " + upload.label + "  " + human_bytes(done) + " of " +
                    human_bytes(upload.size));
      return piece;
    };
    if (Status status = api.store.put_blob(session.caller(), upload.digest, next); !status) {
      return std::move(status).error().wrap("upload " + upload.label);
    }
  }
  return sent.size();
}

}  // namespace mvm::cli
