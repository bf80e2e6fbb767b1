#include "mvm/repository/publish.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"

namespace mvm::repository {
namespace {

namespace fs = std::filesystem;

Result<std::vector<Entry>> index_of(const fs::path& file) {
  auto text = read_file(file, kIndexLimit);
  if (text) return read_index(*text);
  if (text.error().code() == ErrorCode::kNotFound) return std::vector<Entry>();
  return text.error();
}

}  // namespace

Result<Publisher> Publisher::open(const fs::path& folder, const SigningKey* key) {
  MVM_TRY(make_folders(folder));
  return Publisher(folder, key);
}

Result<Entry> Publisher::enter(Entry entry, const std::string& bytes) {
  entry.sha256 = sha256_hex(bytes);
  entry.size = bytes.size();
  if (key_ != nullptr) MVM_TRY(sign(entry, *key_));
  MVM_TRY(read_entry(write_entry(entry)));  // what would be refused is not published
  const UniqueFd lock(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0) return Error::from_errno(errno, "lock " + folder_.string());
  MVM_ASSIGN(std::vector<Entry> entries, index_of(folder_ / kIndexName));
  std::erase_if(entries, [&](const Entry& one) {
    return one.plugin == entry.plugin && one.architecture == entry.architecture;
  });
  entries.push_back(entry);
  const fs::path file = folder_ / entry.file;
  MVM_TRY(make_folders(file.parent_path()));
  MVM_TRY(write_file_durably(file, bytes));
  if (entry.architecture != kSource)
    MVM_TRY(write_file_durably(file.string() + kEntrySuffix, write_entry(entry)));
  MVM_TRY(write_file_durably(folder_ / kIndexName, write_index(entries)));
  return entry;
}

Result<Entry> Publisher::add(const fs::path& file) {
  Entry entry{.plugin = file.filename().string()};
  MVM_TRY(check_plugin_file(entry.plugin));
  MVM_ASSIGN(const std::string bytes, read_file(file, kFileLimit));
  auto architecture = architecture_of(std::string_view(bytes).substr(0, kElfHead));
  if (!architecture) return std::move(architecture).error().wrap(file.string());
  entry.architecture = *architecture;
  entry.file = entry.architecture + "/" + entry.plugin;
  return enter(std::move(entry), bytes);
}

Result<Entry> Publisher::add_source(const fs::path& archive, const std::string& plugin,
                                    const std::string& command) {
  MVM_TRY(check_plugin_file(plugin));
  MVM_ASSIGN(const std::string bytes, read_file(archive, kFileLimit));
  Entry entry{.plugin = plugin,
              .architecture = kSource,
              .file = std::string(kSource) + "/" + plugin + ".source",
              .command = command};
  return enter(std::move(entry), bytes);
}

}  // namespace mvm::repository
