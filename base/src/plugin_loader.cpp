#include "mvm/base/plugin_loader.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <tuple>

#include "mvm/base/assert.h"
#include "mvm/base/unique_fd.h"

namespace mvm {
namespace {

namespace fs = std::filesystem;

struct CloseLibrary {
  void operator()(void* handle) const { ::dlclose(handle); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

constexpr std::size_t kMostFiles = 10'000;      // looked at in a plug-in folder
constexpr std::size_t kMostInterfaces = 64;     // of one plug-in, each way
constexpr std::size_t kLongestInterface = 100;  // bytes of its name
constexpr std::string_view kDebug = ".debug";
constexpr std::string_view kLibrary = ".so";

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > 200 || name.front() == '/' || name.back() == '/') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
  });
}

/// Numbers between dots, at most three. Nothing where it is anything else.
std::optional<std::vector<std::uint32_t>> read_numbers(std::string_view text) {
  std::vector<std::uint32_t> numbers;
  for (std::string_view rest = text; numbers.size() < 3;) {
    std::uint32_t number = 0;
    const auto [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (problem != std::errc()) return std::nullopt;
    numbers.push_back(number);
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    if (rest.empty()) return numbers;
    if (rest.front() != '.') return std::nullopt;
    rest.remove_prefix(1);
  }
  return std::nullopt;
}

/// Rises with what is more recent, and what is preferred of equals.
auto rank(const PluginFile& file, bool debug) {
  const PluginVersion version = file.version.value_or(PluginVersion());
  return std::tuple(file.version.has_value(), version.latest(), version.revision, version.age,
                    file.debug == debug);
}

/// Opens the file below the folder; neither it nor anything on the way may be a link or lead out.
Result<UniqueFd> open_beneath(const fs::path& folder, const std::string& file) {
  UniqueFd base(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!base) return Error(ErrorCode::kNotFound, "the plug-in folder " + folder.string() + " does not exist");
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, base.get(), file.c_str(), &how, sizeof how)));
  if (fd) return fd;
  if (errno == ENOENT || errno == ENOTDIR)
    return Error(ErrorCode::kNotFound, "no plug-in " + file + " in " + folder.string());
  if (errno == ELOOP || errno == EXDEV)
    return Error(ErrorCode::kRefused,
                 "plug-in " + file + " leads out of " + folder.string() + " or is a link");
  return Error::from_errno(errno, "open plug-in " + file);
}

Status check_owner(int fd, const std::string& name) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Error::from_errno(errno, "stat plug-in " + name);
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::kRefused, "plug-in " + name + " is not a regular file");
  // Inside a user namespace the host's files have no owner we know, but a read-only mount keeps them safe.
  struct statvfs mount {};
  if (::fstatvfs(fd, &mount) == 0 && (mount.f_flag & ST_RDONLY) != 0) return ok();
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (info.st_uid != 0 && info.st_uid != ::geteuid()))
    return Error(ErrorCode::kRefused,
                 "plug-in " + name + " may be written by others than root and this program");
  return ok();
}

Status check_descriptor(const MvmPluginDescriptor* found, const PluginLoader::Options& wanted,
                        const std::string& name) {
  if (found == nullptr || found->magic != kPluginMagic)
    return Error(ErrorCode::kCorrupt, name + " is not a plug-in: it has no descriptor mvm_plugin");
  if (found->abi_version != kPluginAbi)
    return Error(ErrorCode::kUnsupported, "plug-in " + name + " was built by another compiler: found ABI " +
                                              std::to_string(found->abi_version) + ", expected " +
                                              std::to_string(kPluginAbi));
  if (found->kind == nullptr || wanted.kind != found->kind)
    return Error(ErrorCode::kUnsupported, "plug-in " + name + " is of kind " +
                                              std::string(found->kind != nullptr ? found->kind : "?") +
                                              ", expected " + wanted.kind);
  if (found->api_version != wanted.api_version)
    return Error(ErrorCode::kUnsupported, "plug-in " + name + " speaks API version " +
                                              std::to_string(found->api_version) + ", expected " +
                                              std::to_string(wanted.api_version));
  if (found->name == nullptr || found->version == nullptr || found->create == nullptr ||
      found->destroy == nullptr)
    return Error(ErrorCode::kCorrupt, "the descriptor of plug-in " + name + " is incomplete");
  return ok();
}

Result<std::vector<std::string>> read_interfaces(const char* const* list, const std::string& name) {
  std::vector<std::string> found;
  for (; list != nullptr && *list != nullptr; ++list) {
    const std::size_t size = ::strnlen(*list, kLongestInterface + 1);
    if (size == 0 || size > kLongestInterface || found.size() == kMostInterfaces)
      return Error(ErrorCode::kCorrupt, "the interfaces of plug-in " + name + " are no list of names");
    found.emplace_back(*list, size);
  }
  return found;
}

}  // namespace

std::string PluginVersion::text() const {
  return std::to_string(first) + "." + std::to_string(age) + "." + std::to_string(revision);
}

std::optional<PluginVersion> read_plugin_version(std::string_view text) {
  const auto numbers = read_numbers(text);
  if (!numbers || numbers->size() != 3) return std::nullopt;
  return PluginVersion{(*numbers)[0], (*numbers)[1], (*numbers)[2]};
}

std::optional<PluginFile> read_plugin_file(std::string_view file) {
  if (!file.ends_with(kLibrary)) return std::nullopt;
  PluginFile found;
  file.remove_suffix(kLibrary.size());
  found.debug = file.ends_with(kDebug);
  if (found.debug) file.remove_suffix(kDebug.size());
  found.base = file;
  // The last three parts, if they are numbers.
  std::size_t at = file.size();
  for (int dots = 0; dots < 3 && at != std::string_view::npos && at > 0; ++dots) at = file.rfind('.', at - 1);
  if (at == std::string_view::npos || at == 0) return found;
  found.version = read_plugin_version(file.substr(at + 1));
  if (found.version) found.base = file.substr(0, at);
  return found;
}

bool less_recent(const PluginFile& left, const PluginFile& right, bool debug) {
  return rank(left, debug) < rank(right, debug);
}

bool PluginWish::allows(const std::optional<PluginVersion>& found) const {
  return !version || (found && found->speaks(*version) && (!age || *age == found->age) &&
                      (!revision || *revision == found->revision));
}

Result<PluginWish> PluginWish::read(std::string_view text) {
  PluginWish wish;
  const std::size_t at = text.find('@');
  wish.name = text.substr(0, at);
  if (!valid_name(wish.name))
    return Error(ErrorCode::kInvalid, "\"" + wish.name.substr(0, 80) + "\" is not the name of a plug-in");
  if (at == std::string_view::npos) return wish;
  const auto numbers = read_numbers(text.substr(at + 1));
  if (!numbers)
    return Error(ErrorCode::kInvalid, "plug-in " + wish.name + ": found version \"" +
                                          std::string(text.substr(at + 1, 40)) +
                                          "\", expected VERSION, VERSION.AGE or VERSION.AGE.REVISION");
  wish.version = (*numbers)[0];
  if (numbers->size() > 1) wish.age = (*numbers)[1];
  if (numbers->size() > 2) wish.revision = (*numbers)[2];
  return wish;
}

struct LoadedPlugin::State {
  UniqueFd file;  // locked while it is mapped: who cleans the folder up sees that it is in use
  Library library;
  const MvmPluginDescriptor* descriptor = nullptr;
  PluginInfo info;
};

LoadedPlugin::LoadedPlugin(std::unique_ptr<State> state) : state_(std::move(state)) {}

/// "`<plug-in name>.init()` and `<plug-in name>.fini()` functions that are automatically resolved and called
/// by the plug-in loader if they exist" [§2.3]: those of the descriptor, else those of that name.
template <typename Function>
Function* hook_of(Function* described, void* library, const std::string& name, const char* ending) {
  if (described != nullptr) return described;
  return reinterpret_cast<Function*>(::dlsym(library, (name + ending).c_str()));
}

LoadedPlugin::~LoadedPlugin() {
  const State& state = *state_;
  if (auto* fini = hook_of(state.descriptor->fini, state.library.get(), state.info.name, ".fini")) fini();
}

const MvmPluginDescriptor& LoadedPlugin::descriptor() const { return *state_->descriptor; }
const PluginInfo& LoadedPlugin::info() const { return state_->info; }
void* LoadedPlugin::symbol(const char* name) const { return ::dlsym(state_->library.get(), name); }

/// The file of the folder that a wish means, without ".so".
Result<std::string> PluginLoader::choose(const PluginWish& wish) const {
  const std::size_t slash = wish.name.rfind('/');
  const std::string below = slash == std::string::npos ? "" : wish.name.substr(0, slash + 1);
  const std::string base = wish.name.substr(below.size());
  // A name that leads out is refused for what it is, not for what does not lie there.
  MVM_ASSIGN(const UniqueFd where, open_beneath(options_.folder, below.empty() ? "." : below));
  std::optional<std::string> best;
  std::error_code error;
  std::size_t looked_at = 0;
  for (fs::directory_iterator entry(options_.folder / below, error), end; !error && entry != end;
       entry.increment(error)) {
    if (++looked_at > kMostFiles)
      return Error(ErrorCode::kExhausted, "too many files in " + options_.folder.string());
    const std::string file = entry->path().filename().string();
    const auto variant = read_plugin_file(file);
    if (!variant || variant->base != base || !wish.allows(variant->version) ||
        (variant->debug && !options_.debug))
      continue;
    if (!best || less_recent(*read_plugin_file(*best), *variant, options_.debug)) best = file;
  }
  if (best) return below + *best;
  const std::string version = wish.version ? " that speaks version " + std::to_string(*wish.version) : "";
  return Error(ErrorCode::kNotFound, "no plug-in " + wish.name + version + " in " + options_.folder.string());
}

/// Mapped and checked; nothing of it has run.
Result<std::unique_ptr<LoadedPlugin::State>> PluginLoader::open(const std::string& text,
                                                                const std::string& owner) const {
  MVM_ASSIGN(const PluginWish wish, PluginWish::read(text));
  MVM_ASSIGN(const std::string file, choose(wish));
  MVM_ASSIGN(UniqueFd fd, open_beneath(options_.folder, file));
  MVM_TRY(check_owner(fd.get(), file));
  while (::flock(fd.get(), LOCK_SH) != 0)
    if (errno != EINTR) return Error::from_errno(errno, "lock plug-in " + file);
  // By path, so that the library's own $ORIGIN holds; the folder is root's or ours, as was just checked.
  const fs::path path = fs::absolute(options_.folder) / file;
  auto state = std::make_unique<LoadedPlugin::State>();
  state->file = std::move(fd);
  state->library.reset(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!state->library) {
    const char* why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): thread-local in glibc
    return Error(ErrorCode::kCorrupt, "load plug-in " + file + ": " + (why != nullptr ? why : "unknown"));
  }
  state->descriptor = static_cast<const MvmPluginDescriptor*>(::dlsym(state->library.get(), "mvm_plugin"));
  MVM_TRY(check_descriptor(state->descriptor, options_, wish.name));
  state->info = {state->descriptor->name, state->descriptor->version, owner, path, {}, {}};
  const auto variant = read_plugin_file(fs::path(file).filename().native());
  if (variant && variant->version && variant->version->text() != state->info.version)
    return Error(ErrorCode::kCorrupt,
                 "plug-in " + file + " says that it is version " + state->info.version.substr(0, 80));
  const auto* interfaces =
      static_cast<const MvmPluginInterfaces*>(::dlsym(state->library.get(), "mvm_plugin_interfaces"));
  if (interfaces == nullptr) return state;
  if (interfaces->magic != kPluginInterfacesMagic)
    return Error(ErrorCode::kCorrupt, "the interfaces of plug-in " + wish.name + " are none");
  MVM_ASSIGN(state->info.offers, read_interfaces(interfaces->offers, wish.name));
  MVM_ASSIGN(state->info.needs, read_interfaces(interfaces->needs, wish.name));
  return state;
}

Result<std::shared_ptr<LoadedPlugin>> PluginLoader::load(const std::string& wish, const std::string& owner,
                                                         const Check& check) const {
  MVM_ASSIGN(auto state, open(wish, owner));
  if (check) MVM_TRY(check(state->info));
  auto* init = hook_of(state->descriptor->init, state->library.get(), state->info.name, ".init");
  if (init != nullptr && init() != 0)
    return Error(ErrorCode::kFailed, "plug-in " + state->info.name + " could not initialise itself");
  return std::shared_ptr<LoadedPlugin>(new LoadedPlugin(std::move(state)));
}

Result<PluginInfo> PluginLoader::inspect(const std::string& wish, std::shared_ptr<const void>* kept) const {
  MVM_ASSIGN(auto state, open(wish, ""));
  PluginInfo info = state->info;
  if (kept != nullptr) *kept = std::shared_ptr<const LoadedPlugin::State>(std::move(state));
  return info;
}

std::vector<std::string> PluginLoader::available() const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(options_.folder, error), end;
       !error && entry != end && names.size() < kMostFiles; entry.increment(error)) {
    if (entry->is_symlink(error) || !entry->is_regular_file(error)) continue;
    const fs::path file = entry->path().lexically_relative(options_.folder);
    const std::string last = file.filename().string();
    const auto variant = read_plugin_file(last);
    if (!variant || (variant->debug && !options_.debug)) continue;
    names.push_back((file.parent_path() / variant->base).string());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace mvm
