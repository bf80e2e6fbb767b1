#pragma once
// The kernel's plug-ins: who loaded which, what each offers and needs, and in which order they come and go.
// [Engelmann & Geist, lightweight kernel, §2.3; Harness 001, §3.1]

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/plugin_loader.h"
#include "mvm/kernel/plugin.h"
#include "plugin_record.h"

namespace mvm::kernel {

/// Who owns what the kernel itself, a person or the command line loaded.
inline constexpr const char* kKernelOwner = "kernel";
/// Who calls from outside this kernel.
inline constexpr const char* kOutside = "outside";

/// A plug-in, as listed.
struct PluginListing {
  PluginInfo info;                  ///< owner: of its first loading
  std::vector<std::string> owners;  ///< one for each loading that was not undone
  std::string state;                ///< "starting", "running" or "stopping"
  Sharing sharing = Sharing::kEveryone;
  bool core = false;  ///< loaded when the kernel began: hidden from users, and there as long as the kernel
};

/// How the name of a plug-in begins that a resource manager finds; a wish follows. [000 §2.3]
inline constexpr std::string_view kPluginUrn = "urn:mvm:plugin:";

/// What a locator means: a wish, and where its file lies.
struct LocatedPlugin {
  std::string wish;    ///< NAME[@VERSION[.AGE[.REVISION]]]
  std::string folder;  ///< empty: the preset folder; else one below the folder of what was fetched
  std::string asked;   ///< as it was said
};

/// Thread-safe and re-entrant: a plug-in may load and unload others while it starts and while it stops. No
/// lock is held while a plug-in's code runs, and where plug-ins wait for each other one of them is refused.
/// A plug-in is known by its name; it is there once, however often it is loaded, until its last owner unloads
/// it.
class Plugins {
 public:
  struct Hooks {
    /// The kernel as the plug-in of this name sees it.
    std::function<std::unique_ptr<Kernel>(const std::string& name)> view;
    /// Takes back what the plug-in offers; returns when none of it runs.
    std::function<void(const std::string& name)> retire;
    /// True where this thread runs an operation of the plug-in.
    std::function<bool(const std::string& name)> runs_here;
    /// Brings what a URL or URN names to this machine. [000 §2.3]
    std::function<Result<LocatedPlugin>(const std::string& locator)> locate;
    /// Writes down all that is kept, durably; called with the lock held.
    std::function<Status(std::vector<KeptPlugin>)> record;
  };
  /// `fetched`: the second preset folder, where locate() puts what it brings.
  Plugins(PluginLoader::Options options, std::filesystem::path fetched, Hooks hooks);
  /// unload_all() must have been called.
  ~Plugins() = default;
  Plugins(const Plugins&) = delete;
  Plugins& operator=(const Plugins&) = delete;

  /// `wish` is a name, or a locator (URL or URN) everywhere.
  /// Loads a plug-in for an owner, or only counts the loading where it is there in a version that the wish
  /// allows. kConflict: another version is there, or the two load each other; kUnsupported: an interface
  /// that it needs is offered by nobody; else what PluginLoader::load answers, or the plug-in's own start().
  [[nodiscard]] Result<PluginHandle> load(const std::string& owner, const std::string& wish);
  /// Undoes one loading of that owner's. The last one stops the plug-in; what it has loaded itself and not
  /// unloaded is the kernel's from then on. kNotFound: no such handle of this owner; kConflict: another
  /// plug-in needs what only this one offers, or it runs on this very thread.
  Status unload(const std::string& owner, PluginHandle handle);
  /// Address of a symbol of the plug-in behind an owner's handle; null where there is none.
  [[nodiscard]] void* symbol(const std::string& owner, PluginHandle handle, const char* name) const;

  /// Loads several for the kernel, in an order in which each finds what it needs: all of them, or none and
  /// an error that names everything that does not fit. Nothing of them runs before that is known. Answers
  /// their names.
  Result<std::vector<std::string>> load_stack(const std::vector<std::string>& wishes,
                                              Sharing sharing = Sharing::kEveryone);
  /// Has loadings of the kernel's, one for each name, come back with a kernel that is started again: on disk
  /// when it returns, and until they are undone. Else they go with this kernel, as those by plug-ins do.
  Status keep(const std::vector<std::string>& names);
  /// Loads for the kernel what the last one kept: as it was found then, else as it was asked for.
  Status load_again(const KeptPlugin& kept);
  /// Undoes a loading of the kernel's, where there are both kinds of this kind. It is off the record before
  /// anything of it ends. kRefused: a core plug-in.
  Status unload_for_kernel(const std::string& name, bool kept);
  /// Sees to it that a loading of the kernel's can be undone, and that nobody else comes between: the plug-in
  /// is not taken as an offer by others. As unload_for_kernel.
  Status reserve_unload(const std::string& name);
  /// Undoes that loading.
  Status finish_unload(const std::string& name, bool kept);
  void release_unload(const std::string& name);
  /// Loads a core plug-in. [000 §2.3: upgraded by replacing the file and restarting the kernel]
  Status load_core(const std::string& name);
  /// Stops all, the latest first.
  void unload_all();

  /// True where `caller` (a plug-in, kKernelOwner or kOutside) may call what a plug-in offers. [000 §2.3]
  [[nodiscard]] bool may_call(const std::string& caller, const std::string& name) const;
  Status share(const std::string& name, Sharing sharing);
  /// In the order of their loading.
  [[nodiscard]] std::vector<PluginListing> list() const;
  [[nodiscard]] std::vector<std::string> available() const { return loader_.available(); }

 private:
  enum class State { kStarting, kRunning, kStopping };
  struct Holding {
    PluginHandle handle = 0;
    std::string owner;
    LocatedPlugin from;
    bool kept = false;
  };
  struct Entry {
    std::uint64_t order = 0;
    State state = State::kStarting;
    PluginInfo info;
    std::string folder;  // where it was located, see LocatedPlugin
    // Of the thread that starts or stops it; while it runs, of nobody.
    std::shared_ptr<LoadedPlugin> library;
    std::unique_ptr<Kernel> view;
    std::shared_ptr<Plugin> object;
    std::vector<Holding> holdings;
    Sharing sharing = Sharing::kEveryone;
    bool core = false;
    bool reserved = false;  // for its unloading
  };
  using Lock = std::unique_lock<std::mutex>;

  [[nodiscard]] Result<LocatedPlugin> located(const std::string& text) const;
  [[nodiscard]] Result<PluginHandle> load(const std::string& owner, const LocatedPlugin& wanted);
  Status start(const std::string& name, const LocatedPlugin& wanted, const std::string& owner, Entry& entry);
  void stop(const std::string& name, Entry& entry);
  [[nodiscard]] Result<PluginHandle> kernels_holding(const std::string& name, bool kept) const;
  [[nodiscard]] Status record() const;
  void adopt_orphans(const std::string& of);
  [[nodiscard]] Status not_needed(const std::string& name) const;
  Status let_go(Lock& lock, const std::string& name, PluginHandle handle);
  Status wait_for(Lock& lock, const std::string& owner, const std::string& name);
  [[nodiscard]] bool waits_for(const std::string& who, const std::string& whom) const;
  [[nodiscard]] bool offered(const std::string& interface, const std::string& without) const;
  [[nodiscard]] Status check_needs(const PluginInfo& info) const;
  [[nodiscard]] Result<std::vector<LocatedPlugin>> order_of(
      const std::vector<LocatedPlugin>& wishes, std::vector<std::shared_ptr<const void>>& kept) const;
  [[nodiscard]] const PluginLoader& loader_of(const LocatedPlugin& wanted) const {
    return wanted.folder.empty() ? loader_ : fetched_;
  }

  PluginLoader loader_;
  PluginLoader fetched_;
  Hooks hooks_;
  mutable std::mutex mutex_;  // of all below; never held while a plug-in's code runs
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_;  // a node stays where it is while others come and go
  std::map<std::string, std::multiset<std::string>> waiting_;  // plug-ins for plug-ins that start or stop
  std::uint64_t next_ = 1;                                     // handle, and order
};

}  // namespace mvm::kernel
