#include "mvm/base/plugin_loader.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "mvm/base/assert.h"
#include "mvm/base/unique_fd.h"

namespace mvm {
namespace {

namespace fs = std::filesystem;

struct CloseLibrary {
  void operator()(void* handle) const { ::dlclose(handle); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > 200 || name.front() == '/' || name.back() == '/') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
  });
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
  if (errno == ENOENT) return Error(ErrorCode::kNotFound, "no plug-in " + file + " in " + folder.string());
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

}  // namespace

struct LoadedPlugin::State {
  Library library;
  const MvmPluginDescriptor* descriptor = nullptr;
  PluginInfo info;
};

LoadedPlugin::LoadedPlugin(std::unique_ptr<State> state) : state_(std::move(state)) {}

LoadedPlugin::~LoadedPlugin() {
  if (state_->descriptor->fini != nullptr) state_->descriptor->fini();
}

const MvmPluginDescriptor& LoadedPlugin::descriptor() const { return *state_->descriptor; }
const PluginInfo& LoadedPlugin::info() const { return state_->info; }
void* LoadedPlugin::symbol(const char* name) const { return ::dlsym(state_->library.get(), name); }

Result<std::shared_ptr<LoadedPlugin>> PluginLoader::load(const std::string& name,
                                                         const std::string& owner) const {
  if (!valid_name(name))
    return Error(ErrorCode::kInvalid, "\"" + name.substr(0, 80) + "\" is not the name of a plug-in");
  MVM_ASSIGN(const UniqueFd fd, open_beneath(options_.folder, name + ".so"));
  MVM_TRY(check_owner(fd.get(), name));
  // By path, so that the library's own $ORIGIN holds; the folder is root's or ours, as was just checked.
  const fs::path path = fs::absolute(options_.folder) / (name + ".so");
  auto state = std::make_unique<LoadedPlugin::State>();
  state->library.reset(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!state->library) {
    const char* why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): thread-local in glibc
    return Error(ErrorCode::kCorrupt, "load plug-in " + name + ": " + (why != nullptr ? why : "unknown"));
  }
  state->descriptor = static_cast<const MvmPluginDescriptor*>(::dlsym(state->library.get(), "mvm_plugin"));
  MVM_TRY(check_descriptor(state->descriptor, options_, name));
  state->info = {state->descriptor->name, state->descriptor->version, owner, path};
  if (state->descriptor->init != nullptr && state->descriptor->init() != 0)
    return Error(ErrorCode::kFailed, "plug-in " + name + " could not initialise itself");
  return std::shared_ptr<LoadedPlugin>(new LoadedPlugin(std::move(state)));
}

std::vector<std::string> PluginLoader::available() const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(options_.folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_symlink(error) || !entry->is_regular_file(error) || entry->path().extension() != ".so")
      continue;
    names.push_back(entry->path().lexically_relative(options_.folder).replace_extension().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace mvm
