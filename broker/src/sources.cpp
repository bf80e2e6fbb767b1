#include "sources.h"

#include <filesystem>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/build/archive.h"

namespace mvm::broker {
namespace {

namespace fs = std::filesystem;
using topologies::Program;
using topologies::Source;

constexpr std::size_t kLargestFile = 64U << 20U;
constexpr std::size_t kLongestName = 1024;

/// A folder that goes with its owner.
class Scratch {
 public:
  [[nodiscard]] static Result<Scratch> make() {
    MVM_ASSIGN(auto path, make_temporary_folder(fs::temp_directory_path(), "mvm-source-"));
    return Scratch(std::move(path));
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (!path_.empty()) (void)remove_tree(path_);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  explicit Scratch(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

/// A relative name that stays below its folder.
Status check_name(const std::string& name) {
  const fs::path path(name);
  bool good = !name.empty() && name.size() <= kLongestName && path.is_relative() &&
              name.find('\0') == std::string::npos && path.has_filename();
  for (const auto& part : path) good = good && part != ".." && part != ".";
  if (good) return ok();
  return Error(ErrorCode::kInvalid,
               "source file name: found '" + name.substr(0, 100) + "', expected a relative one");
}

Status add_file(const fs::path& tree, const std::string& name, std::string_view text) {
  MVM_TRY(check_name(name));
  const auto target = tree / name;
  // What earlier sources brought may be a link: it is replaced, never followed.
  fs::path at = tree;
  for (const auto& part : fs::path(name).parent_path()) {
    at /= part;
    std::error_code problem;
    if (!fs::is_directory(fs::symlink_status(at, problem))) MVM_TRY(remove_tree(at));
    MVM_TRY(make_folders(at));
  }
  MVM_TRY(remove_tree(target));
  return write_file_durably(target, text);
}

/// Moves what is in `from` over `tree`. Each folder on the way is a real one, so nothing outside is touched.
Status lay_over(const fs::path& from, const fs::path& tree) {
  std::error_code problem;
  fs::recursive_directory_iterator entry(from, problem);
  for (; !problem && entry != fs::recursive_directory_iterator(); entry.increment(problem)) {
    const auto target = tree / entry->path().lexically_relative(from);
    const bool folder = fs::is_directory(entry->symlink_status(problem));
    const auto there = fs::symlink_status(target, problem);
    if (fs::exists(there) && !(folder && fs::is_directory(there))) MVM_TRY(remove_tree(target));
    problem.clear();
    if (folder)
      fs::create_directory(target, problem);
    else
      fs::rename(entry->path(), target, problem);
  }
  if (problem) return Error(ErrorCode::kIo, "lay sources over each other: " + problem.message());
  return ok();
}

Status add_archive(const BlobStore& blobs, const Source& source, const Scratch& scratch,
                   const fs::path& tree) {
  MVM_ASSIGN(const auto archive, blobs.read(source.digest));
  const auto unpacked = scratch.path() / "unpacked";
  MVM_TRY(build::unpack(archive.get(), unpacked));
  MVM_TRY(lay_over(unpacked, tree));
  return remove_tree(unpacked);
}

}  // namespace

Result<std::string> source_tree(const BlobStore& blobs, const Program& program) {
  if (program.sources.empty()) return std::string();
  const auto& first = program.sources.front();
  if (program.sources.size() == 1 && first.kind == Source::Kind::kDigest && !first.file) {
    if (!blobs.has(first.digest))
      return Error(ErrorCode::kNotFound, "the source of role " + program.role + " is not in the store");
    return first.digest;
  }
  MVM_ASSIGN(const auto scratch, Scratch::make());
  const auto tree = scratch.path() / "tree";
  MVM_TRY(make_folders(tree));
  for (const auto& source : program.sources) {
    if (source.kind == Source::Kind::kPath)
      return Error(ErrorCode::kInvalid,
                   "the source of role " + program.role + " is a path, expected a digest");
    if (source.kind == Source::Kind::kInline) {
      MVM_TRY(add_file(tree, source.name, source.text));
    } else if (source.file) {
      MVM_ASSIGN(const auto text, blobs.read_whole(source.digest, kLargestFile));
      MVM_TRY(add_file(tree, source.name, text));
    } else {
      MVM_TRY(add_archive(blobs, source, scratch, tree));
    }
  }
  return build::pack_directory(tree, blobs);
}

}  // namespace mvm::broker
