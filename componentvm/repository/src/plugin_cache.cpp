#include "mvm/repository/plugin_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <vector>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"

namespace mvm::repository {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEntryFile = "entry.json";
constexpr const char* kSourceFile = "source.json";
constexpr std::chrono::minutes kLately{1};  // what was just located is about to be mapped

Status check_elf(const Entry& entry, int fd) {
  std::array<char, kElfHead> head{};
  const ssize_t got = ::pread(fd, head.data(), head.size(), 0);
  auto found = architecture_of({head.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))});
  if (!found) return Error(ErrorCode::kCorrupt, entry.plugin + ": " + found.error().message());
  if (*found != entry.architecture)
    return Error(ErrorCode::kUnsupported,
                 entry.plugin + " is for " + *found + ", expected " + entry.architecture);
  return ok();
}

Result<Entry> entry_of(const fs::path& file) {
  MVM_ASSIGN(const std::string text, read_file(file, kEntryLimit));
  return read_entry(text);
}

/// Held by whoever puts something in place: what lies around is nobody else's then.
Result<UniqueFd> lock_incoming(const fs::path& folder, int how) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "open " + folder.string());
  while (::flock(fd.get(), how) != 0)
    if (errno != EINTR) return Error::from_errno(errno, "lock " + folder.string());
  return fd;
}

/// Makes `made` the folder `place`, durably; no error where that is there already.
Status put_in_place(const fs::path& made, const fs::path& place) {
  if (::rename(made.c_str(), place.c_str()) != 0 && errno != ENOTEMPTY && errno != EEXIST)
    return Error::from_errno(errno, "rename " + made.string());
  const UniqueFd parent(::open(place.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent || ::fsync(parent.get()) != 0)
    return Error::from_errno(errno, "fsync " + place.parent_path().string());
  return ok();
}

}  // namespace

Result<PluginCache> PluginCache::open(const fs::path& folder, std::uint64_t limit) {
  for (const char* name : {"", "plugins", "incoming", "builds"}) MVM_TRY(make_folders(folder / name, 0700));
  MVM_ASSIGN(BlobStore blobs, BlobStore::open(folder / "blobs", {.blob = kFileLimit, .keep_free = 8 << 20}));
  if (auto alone = lock_incoming(folder / "incoming", LOCK_EX | LOCK_NB)) {
    std::error_code error;
    for (fs::directory_iterator entry(folder / "incoming", error), end; !error && entry != end;
         entry.increment(error))
      (void)remove_tree(entry->path());
    if (const auto left = blobs.list())
      for (const BlobInfo& blob : *left) (void)blobs.remove(blob.digest);
  }
  return PluginCache(folder, limit, std::move(blobs));
}

std::string PluginCache::key_of(const Entry& entry) { return sha256_hex(entry.statement()); }

Result<Entry> PluginCache::entry(const std::string& key) const {
  std::error_code error;
  if (!is_sha256(key) || !fs::is_directory(plugins() / key, error))
    return Error(ErrorCode::kNotFound, "the plug-in cache holds no " + key.substr(0, 80));
  return entry_of(plugins() / key / kEntryFile);
}

Status PluginCache::check(const std::string& key, const Trust& trust) const {
  auto found = entry(key);
  if (!found && found.error().code() == ErrorCode::kNotFound) return found.error();
  const fs::path folder = plugins() / key;
  const auto digest = found ? sha256_of_file(folder / found->plugin) : Result<std::string>("");
  if (!found || key_of(*found) != key || !digest || *digest != found->sha256) {
    (void)remove_tree(folder);
    return Error(ErrorCode::kCorrupt, "plug-in " + key + " changed in the cache and was removed from it");
  }
  (void)::utimensat(AT_FDCWD, folder.c_str(), nullptr, 0);  // when it was used
  std::error_code error;
  if (!fs::exists(folder / kSourceFile, error)) return trust.check(*found);
  MVM_ASSIGN(const Entry source, entry_of(folder / kSourceFile));
  return trust.check(source);
}

Result<std::string> PluginCache::store(Entry entry, const Fill& fill,
                                       const std::optional<Entry>& source) const {
  const std::string key = key_of(entry);
  MVM_ASSIGN(BlobWriter writer, blobs_.write(entry.sha256));
  MVM_TRY(fill(writer));
  if (entry.size == 0) entry.size = writer.offset();
  if (writer.offset() != entry.size)
    return Error(ErrorCode::kCorrupt, entry.plugin + ": found " + std::to_string(writer.offset()) +
                                          " bytes, expected " + std::to_string(entry.size));
  MVM_ASSIGN(const UniqueFd lock, lock_incoming(folder_ / "incoming", LOCK_EX));
  auto digest = writer.commit();
  if (!digest) return Error(ErrorCode::kCorrupt, entry.plugin + ": " + digest.error().describe());
  MVM_ASSIGN(const fs::path made, make_temporary_folder(folder_ / "incoming", "plugin-"));
  const Status placed = [&]() -> Status {
    MVM_ASSIGN(const UniqueFd bytes, blobs_.read(*digest));
    MVM_TRY(check_elf(entry, bytes.get()));
    if (::link(blobs_.path(*digest).c_str(), (made / entry.plugin).c_str()) != 0)
      return Error::from_errno(errno, "link " + (made / entry.plugin).string());
    MVM_TRY(write_file_durably(made / kEntryFile, write_entry(entry), 0600));
    if (source) MVM_TRY(write_file_durably(made / kSourceFile, write_entry(*source), 0600));
    return put_in_place(made, plugins() / key);
  }();
  (void)remove_tree(made);
  (void)blobs_.remove(*digest);  // the name that stays is the plug-in's
  if (!placed) return placed.error();
  trim();
  return key;
}

/// With the lock.
void PluginCache::trim() const {
  struct Held {
    fs::file_time_type used;
    std::uint64_t size = 0;
    fs::path place;
  };
  std::vector<Held> held;
  std::uint64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator one(plugins(), error), end; !error && one != end; one.increment(error)) {
    std::error_code gone;
    Held found{one->last_write_time(gone), 0, one->path()};
    for (fs::directory_iterator file(one->path(), gone), last; !gone && file != last; file.increment(gone)) {
      const std::uintmax_t size = file->file_size(gone);
      if (!gone) found.size += size;
    }
    if (gone) continue;
    total += found.size;
    held.push_back(std::move(found));
  }
  std::sort(held.begin(), held.end(), [](const Held& a, const Held& b) { return a.used < b.used; });
  const auto lately = fs::file_time_type::clock::now() - kLately;
  bool any = false;
  for (const Held& one : held) {
    if (total <= limit_ || one.used > lately) break;
    if (!evict(one.place)) continue;
    total -= one.size;
    any = true;
  }
  if (any) forget_builds();
}

/// False where it is in use: whoever has it mapped has its file locked.
bool PluginCache::evict(const fs::path& place) const {
  auto found = entry_of(place / kEntryFile);
  UniqueFd fd;
  if (found) {
    fd.reset(::open((place / found->plugin).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return false;
  }
  const fs::path away = folder_ / "incoming" / ("evicted-" + place.filename().string());
  if (::rename(place.c_str(), away.c_str()) != 0) return false;  // at once, so that nobody finds half of it
  return remove_tree(away).has_value();
}

/// Notes of builds whose plug-in is gone.
void PluginCache::forget_builds() const {
  std::error_code error;
  for (fs::directory_iterator one(folder_ / "builds", error), end; !error && one != end;
       one.increment(error)) {
    const auto key = built(one->path().filename().string());
    std::error_code problem;
    if (!key || !is_sha256(*key) || !fs::exists(plugins() / *key, problem)) fs::remove(one->path(), problem);
  }
}

Result<std::string> PluginCache::built(const std::string& build) const {
  MVM_ASSIGN(std::string key, read_file(folder_ / "builds" / build, 64));
  return key;
}

Status PluginCache::note_built(const std::string& build, const std::string& key) const {
  return write_file_durably(folder_ / "builds" / build, key, 0600);
}

}  // namespace mvm::repository
