#include "resources.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "mvm/base/plugin_loader.h"
#include "mvm/build/archive.h"
#include "mvm/build/build_key.h"
#include "mvm/build/recipe.h"
#include "mvm/repository/rules.h"

namespace mvm::plugins::resources {
namespace {

namespace fs = std::filesystem;
using kernel::Answer;
using repository::Entry;
using repository::kSource;

constexpr std::string_view kUrn = "urn:mvm:plugin:";
constexpr std::size_t kMostCandidates = 16;  // tried of one repository
constexpr std::size_t kPiece = 1 << 16;
// One builds, another may wait. Each holds a thread of the kernel's pool, which has at least four, while the
// builder needs one.
constexpr int kMostBuilding = 2;

Result<PluginWish> read_urn(const std::string& urn) {
  if (!urn.starts_with(kUrn))
    return Error(ErrorCode::kInvalid, "found \"" + urn.substr(0, 80) + "\", expected " + std::string(kUrn) +
                                          "NAME[@VERSION[.AGE[.REVISION]]]");
  MVM_ASSIGN(PluginWish wish, PluginWish::read(urn.substr(kUrn.size())));
  if (wish.name.find('/') != std::string::npos)
    return Error(ErrorCode::kInvalid, "found \"" + urn.substr(0, 80) + "\", expected a name without folders");
  return wish;
}

/// Counts itself while it lives.
class Counted {
 public:
  explicit Counted(std::atomic<int>& count) : count_(count), mine_(++count) {}
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  [[nodiscard]] int mine() const { return mine_; }

 private:
  std::atomic<int>& count_;
  int mine_;
};

/// A regular file below a folder that a stranger's program filled.
Result<UniqueFd> open_made(const fs::path& file, std::uint64_t& size) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return Error(ErrorCode::kFailed, "the build made no file " + file.filename().string());
  size = static_cast<std::uint64_t>(info.st_size);
  return fd;
}

Status copy_into(int fd, BlobWriter& writer) {
  std::array<char, kPiece> piece;
  for (;;) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read what was built");
    if (got == 0) return ok();
    MVM_TRY(writer.append({piece.data(), static_cast<std::size_t>(got)}));
  }
}

}  // namespace

struct Resources::Tried {
  std::string text;
  ErrorCode code = ErrorCode::kNotFound;  // unless something else went wrong first
  void note(const std::string& what, const Error& error) {
    if (code == ErrorCode::kNotFound) code = error.code();
    text += "\n  " + what + ": " + error.describe();
  }
};

Status Resources::offer() {
  MVM_ASSIGN(const Answer answer, kernel_.call({.op = "kernel.locators"}));
  MVM_ASSIGN(repository::LocatorRules rules, repository::rules_from(answer.result));
  MVM_ASSIGN(fetcher_, repository::Fetcher::open(std::move(rules)));
  return kernel_.handle("resources.resolve", [this](kernel::Call& call) { return resolve(call); });
}

/// Those that fit, the best first: the most recent; of equals, one that need not be built.
std::vector<Entry> Resources::candidates(const std::vector<Entry>& entries, const PluginWish& wish) const {
  const repository::LocatorRules& rules = fetcher_->rules();
  std::vector<Entry> fit;
  for (const Entry& entry : entries) {
    const auto file = read_plugin_file(entry.plugin);
    if (file && file->base == wish.name && wish.allows(file->version) && (rules.debug || !file->debug) &&
        (entry.architecture == rules.architecture || entry.architecture == kSource))
      fit.push_back(entry);
  }
  std::stable_sort(fit.begin(), fit.end(), [&](const Entry& a, const Entry& b) {
    const auto left = read_plugin_file(a.plugin);
    const auto right = read_plugin_file(b.plugin);
    if (less_recent(*right, *left, rules.debug)) return true;
    if (less_recent(*left, *right, rules.debug)) return false;
    return a.architecture != kSource && b.architecture == kSource;
  });
  if (fit.size() > kMostCandidates) fit.resize(kMostCandidates);
  return fit;
}

Result<Answer> Resources::resolve(const kernel::Call& call) {
  MVM_ASSIGN(const std::string urn, need_text(call.args, "urn"));
  MVM_ASSIGN(const PluginWish wish, read_urn(urn));
  Tried tried;
  for (const std::string& base : fetcher_->rules().repositories) {
    auto entries = fetcher_->index(base);
    if (!entries) {
      tried.note(base, entries.error());
      continue;
    }
    const std::vector<Entry> fit = candidates(*entries, wish);
    if (fit.empty())
      tried.note(base, Error(ErrorCode::kNotFound, "it has none for " + fetcher_->rules().architecture));
    for (const Entry& entry : fit) {
      auto key = bring(base, entry);
      if (key) return Answer{{{"url", std::string(repository::kCacheScheme) + *key}}, {}, {}};
      tried.note(repository::url_below(base, entry.file), key.error());
    }
  }
  if (fetcher_->rules().repositories.empty())
    tried.text = " (this kernel has no plug-in repository; name one with --repository)";
  return Error(tried.code, urn + " is found in no repository:" + tried.text);
}

Result<std::string> Resources::bring(const std::string& base, const Entry& entry) {
  return entry.architecture == kSource ? build(base, entry) : fetcher_->fetch(base, entry);
}

// ---- sources ----------------------------------------------------------------------------------------------

Result<std::string> Resources::build(const std::string& base, const Entry& source) {
  MVM_TRY(fetcher_->trust().check(source));
  const std::string key = build::build_key({.source = source.sha256,
                                            .command = source.command,
                                            .parameters = {{"plugin", source.plugin}},
                                            .image = "plug-in ABI " + std::to_string(kPluginAbi),
                                            .libmvm = std::to_string(kernel::kPluginApi),
                                            .architecture = fetcher_->rules().architecture});
  const Counted counted(building_);
  if (counted.mine() > kMostBuilding)
    return Error(ErrorCode::kExhausted, "other plug-ins are being built; try again");
  const std::lock_guard one_at_a_time(build_mutex_);
  if (auto before = fetcher_->cache().built(key);
      before && fetcher_->cache().check(*before, fetcher_->trust()))
    return before;
  MVM_TRY(fetch_source(base, source));
  auto outcome = run_build(key, source);
  auto made = outcome ? keep_built(*outcome, source) : Result<std::string>(outcome.error());
  (void)kernel_.blobs().remove(source.sha256);
  if (!outcome) return made;
  (void)kernel_.blobs().remove(text_or(object_or_empty(*outcome, "output"), "digest"));
  if (made) MVM_TRY(fetcher_->cache().note_built(key, *made));
  return made;
}

Status Resources::fetch_source(const std::string& base, const Entry& source) const {
  MVM_ASSIGN(BlobWriter writer, kernel_.blobs().write(source.sha256));
  MVM_TRY(repository::download(repository::url_below(base, source.file), fetcher_->rules().download,
                               source.size, [&](std::string_view piece) { return writer.append(piece); }));
  MVM_TRY(writer.commit());
  return ok();
}

/// Waits for the end of the build; an outcome that is good.
Result<nlohmann::json> Resources::run_build(const std::string& key, const Entry& source) {
  MVM_TRY(kernel_.call({.op = "build.start",
                        .args = {{"key", key},
                                 {"source", source.sha256},
                                 {"command", source.command},
                                 {"params", nlohmann::json::object()},
                                 {"here", true}}}));
  log::info("plugin.building", {{"plugin", source.plugin}, {"key", key}});
  for (;;) {
    MVM_ASSIGN(const Answer answer,
               kernel_.call({.op = "build.wait", .args = {{"key", key}, {"wait_ms", 5000}}}));
    if (!flag_or(answer.result, "done")) continue;  // the builder's own limits end it
    const nlohmann::json& outcome = object_or_empty(answer.result, "outcome");
    if (flag_or(outcome, "ok")) return outcome;
    std::string why = text_or(outcome, "reason");
    if (why.empty()) why = "it ended with code " + std::to_string(number_or(outcome, "code"));
    return Error(ErrorCode::kFailed,
                 "the build of " + source.plugin + " failed: " + why + "\n" + text_or(outcome, "log"));
  }
}

Result<std::string> Resources::keep_built(const nlohmann::json& outcome, const Entry& source) {
  const std::string digest = text_or(object_or_empty(outcome, "output"), "digest");
  MVM_ASSIGN(const UniqueFd archive, kernel_.blobs().read(digest));
  MVM_ASSIGN(const fs::path folder, make_temporary_folder(kernel_.config().work, "built-plugin-"));
  auto kept = [&]() -> Result<std::string> {
    MVM_TRY(build::unpack(archive.get(), folder / "made", {.bytes = 1ULL << 30, .entries = 20'000}));
    const fs::path file = folder / "made" / source.plugin;
    Entry entry{
        .plugin = source.plugin, .architecture = fetcher_->rules().architecture, .file = source.plugin};
    MVM_ASSIGN(const UniqueFd made, open_made(file, entry.size));
    MVM_ASSIGN(entry.sha256, sha256_of_file(file));
    return fetcher_->cache().store(
        entry, [&](BlobWriter& writer) { return copy_into(made.get(), writer); }, source);
  }();
  (void)remove_tree(folder);
  return kept;
}

}  // namespace mvm::plugins::resources
