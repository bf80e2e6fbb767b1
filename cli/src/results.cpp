#include <fcntl.h>
#include <unistd.h>

#include <map>
#include <ostream>

#include "follow.h"
#include "format.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"

namespace mvm::cli {
namespace {

/// A relative name that stays below its folder.
bool stays_below(const std::filesystem::path& name) {
  if (name.empty() || name.is_absolute()) return false;
  for (const auto& part : name) {
    if (part.empty() || part == ".." || part == ".") return false;
  }
  return name.native().find('\0') == std::string::npos;
}

/// Downloads a blob beside its place and moves it there once its digest is right.
Status fetch_one(Session& session, const soap::ResultFile& file, const std::filesystem::path& target,
                 ProgressLine& progress) {
  if (!target.parent_path().empty()) MVM_TRY(make_folders(target.parent_path()));
  std::filesystem::path part = target;
  part += ".part-" + random_hex(4);
  UniqueFd fd(open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) return Error::from_errno(errno, "create " + part.string());
  Sha256 digest;
  std::uint64_t size = 0;
  const auto take = [&](std::string_view piece) -> Status {
    digest.update(piece);
    size += piece.size();
    progress.show("fetching " + file.name + "  " + human_bytes(size) + " of " + human_bytes(file.size));
    return write_all(fd.get(), piece);
  };
  Status status = [&]() -> Status {
    MVM_ASSIGN(auto api, session.api());
    MVM_TRY(api.store.get_blob(session.caller(), file.digest, take));
    if (digest.hex() != file.digest) {
      return Error(ErrorCode::kCorrupt, "result " + file.name + ": found other bytes than its digest names");
    }
    if (fsync(fd.get()) != 0) return Error::from_errno(errno, "write " + target.string());
    if (rename(part.c_str(), target.c_str()) != 0)
      return Error::from_errno(errno, "write " + target.string());
    return ok();
  }();
  if (!status) unlink(part.c_str());
  return status;
}

}  // namespace

Result<std::vector<std::filesystem::path>> fetch_results(Session& session,
                                                         const std::vector<soap::ResultFile>& files,
                                                         const std::filesystem::path& folder) {
  std::map<std::string, int> uses;
  for (const soap::ResultFile& file : files) ++uses[file.name];
  std::vector<std::filesystem::path> fetched;
  ProgressLine progress(session);
  for (const soap::ResultFile& file : files) {
    std::filesystem::path name = file.name;
    // Several processes left a file of this name: each has a folder of its own.
    if (uses[file.name] > 1) name = std::filesystem::path(file.process) / name;
    if (!stays_below(name) || (uses[file.name] > 1 && file.process.find('/') != std::string::npos)) {
      return Error(ErrorCode::kCorrupt,
                   "result '" + one_line(file.name) +
                       "' leads out of the folder; expected a relative path without '..'");
    }
    MVM_TRY(fetch_one(session, file, folder / name, progress));
    fetched.push_back(folder / name);
  }
  return fetched;
}

}  // namespace mvm::cli
