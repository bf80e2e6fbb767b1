#include "plugins.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "mvm/base/log.h"

namespace mvm::kernel {
namespace {

/// What the kernel itself offers to plug-ins. [§2]
constexpr const char* kOwnInterfaces[] = {"harness.kernel/1", "harness.thread-pool/1",
                                          "harness.process-manager/1", "harness.plug-in-loader/1"};
constexpr std::size_t kMostInStack = 256;

/// Names have no colon; URLs and URNs have.
bool is_locator(const std::string& text) { return text.find(':') != std::string::npos; }

/// How the locator plug-in knows what it fetched before. [docs/formats/repository.md]
constexpr const char* kCache = "cache:";

/// What the loader of that folder is asked for.
std::string wish_for_loader(const LocatedPlugin& wanted) {
  return wanted.folder.empty() ? wanted.wish : wanted.folder + "/" + wanted.wish;
}

PluginLoader::Options in_folder(PluginLoader::Options options, std::filesystem::path folder) {
  options.folder = std::move(folder);
  return options;
}

/// Memory tracing of the debug kernel: what all of this program has allocated around the code of a plug-in,
/// in bytes. [Engelmann & Geist, lightweight kernel, §2.3]
class MemoryTrace {
 public:
  MemoryTrace(bool on, std::string name, const char* when)
      : on_(on), name_(std::move(name)), when_(when), before_(on ? now() : 0) {}
  ~MemoryTrace() {
    if (on_)
      log::debug("plugin.memory", {{"name", name_}, {"when", when_}, {"before", before_}, {"after", now()}});
  }
  MemoryTrace(const MemoryTrace&) = delete;
  MemoryTrace& operator=(const MemoryTrace&) = delete;

 private:
  static std::size_t now() {
    const struct mallinfo2 info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  }
  bool on_;
  std::string name_;
  const char* when_;
  std::size_t before_;
};

bool holds(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

Plugins::Plugins(PluginLoader::Options options, std::filesystem::path fetched, Hooks hooks)
    : loader_(options),
      fetched_(in_folder(std::move(options), std::move(fetched))),
      hooks_(std::move(hooks)) {}

Result<LocatedPlugin> Plugins::located(const std::string& text) const {
  if (!is_locator(text)) return LocatedPlugin{text, "", text};
  if (text.starts_with(kPluginUrn)) {  // what is there already need not be found
    MVM_ASSIGN(const PluginWish wish, PluginWish::read(text.substr(kPluginUrn.size())));
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(wish.name);
    if (found != entries_.end() && found->second.state == State::kRunning &&
        wish.allows(read_plugin_version(found->second.info.version)))
      return LocatedPlugin{text.substr(kPluginUrn.size()), found->second.folder, text};
  }
  MVM_ASSIGN(LocatedPlugin found, hooks_.locate(text));
  found.asked = text;
  return found;
}

// ---- waiting ----------------------------------------------------------------------------------------------

/// True where `who` cannot go on before `whom` does.
bool Plugins::waits_for(const std::string& who, const std::string& whom) const {
  std::vector<std::string> ahead{who};
  std::set<std::string> seen;
  while (!ahead.empty()) {
    const std::string one = ahead.back();
    ahead.pop_back();
    if (one == whom) return true;
    if (!seen.insert(one).second) continue;
    if (const auto found = waiting_.find(one); found != waiting_.end())
      ahead.insert(ahead.end(), found->second.begin(), found->second.end());
  }
  return false;
}

/// Until something changes; refused where nothing would.
Status Plugins::wait_for(Lock& lock, const std::string& owner, const std::string& name) {
  if (waits_for(name, owner))
    return Error(ErrorCode::kConflict, "plug-ins " + owner + " and " + name + " wait for each other");
  const auto mine = waiting_[owner].insert(name);
  changed_.wait(lock);
  waiting_[owner].erase(mine);
  return ok();
}

// ---- interfaces -------------------------------------------------------------------------------------------

bool Plugins::offered(const std::string& interface, const std::string& without) const {
  if (std::find(std::begin(kOwnInterfaces), std::end(kOwnInterfaces), interface) != std::end(kOwnInterfaces))
    return true;
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& one) {
    return one.first != without && one.second.state == State::kRunning && !one.second.reserved &&
           holds(one.second.info.offers, interface);
  });
}

Status Plugins::check_needs(const PluginInfo& info) const {
  std::string missing;
  for (const std::string& need : info.needs)
    if (!offered(need, info.name)) missing += (missing.empty() ? "" : ", ") + need;
  if (missing.empty()) return ok();
  return Error(ErrorCode::kUnsupported,
               "plug-in " + info.name + " needs " + missing + ", which no loaded plug-in offers");
}

/// The wishes, each behind those that offer what it needs. Mapped and read, nothing run; and kept mapped,
/// since to map them again is the dearest part of loading them.
Result<std::vector<LocatedPlugin>> Plugins::order_of(const std::vector<LocatedPlugin>& wishes,
                                                     std::vector<std::shared_ptr<const void>>& kept) const {
  std::vector<PluginInfo> infos;
  std::string wrong;
  const auto note = [&](const std::string& what) { wrong += (wrong.empty() ? "" : "; ") + what; };
  for (const LocatedPlugin& wish : wishes) {
    auto info = loader_of(wish).inspect(wish_for_loader(wish), &kept.emplace_back());
    if (!info) note(info.error().message());
    infos.push_back(info ? *std::move(info) : PluginInfo());
  }
  const std::lock_guard lock(mutex_);
  const auto in_stack = [&](const std::string& need, const std::vector<bool>* placed) {
    for (std::size_t i = 0; i < infos.size(); ++i)
      if ((placed == nullptr || (*placed)[i]) && holds(infos[i].offers, need)) return true;
    return false;
  };
  for (const PluginInfo& info : infos)
    for (const std::string& need : info.needs)
      if (!offered(need, "") && !in_stack(need, nullptr))
        note("plug-in " + info.name + " needs " + need + ", which nobody offers");
  if (!wrong.empty()) return Error(ErrorCode::kUnsupported, wrong);
  std::vector<LocatedPlugin> order;
  std::vector<bool> placed(infos.size(), false);
  for (bool grew = true; grew;) {
    grew = false;
    for (std::size_t i = 0; i < infos.size(); ++i) {
      const auto& needs = infos[i].needs;
      if (placed[i] || !std::all_of(needs.begin(), needs.end(), [&](const std::string& need) {
            return offered(need, "") || in_stack(need, &placed);
          }))
        continue;
      placed[i] = grew = true;
      order.push_back(wishes[i]);
    }
  }
  if (order.size() == wishes.size()) return order;
  for (std::size_t i = 0; i < infos.size(); ++i)
    if (!placed[i]) note(infos[i].name);
  return Error(ErrorCode::kUnsupported, "these plug-ins need each other in a circle: " + wrong);
}

// ---- loading ----------------------------------------------------------------------------------------------

/// Runs the plug-in's code; no lock is held, and the entry is this thread's.
Status Plugins::start(const std::string& name, const LocatedPlugin& wanted, const std::string& owner,
                      Entry& entry) {
  const MemoryTrace trace(loader_.debug(), name, "load");
  const PluginLoader& loader = loader_of(wanted);
  MVM_ASSIGN(entry.library,
             loader.load(wish_for_loader(wanted), owner, [&](const PluginInfo& info) -> Status {
               const std::lock_guard lock(mutex_);
               MVM_TRY(check_needs(info));
               entry.info = info;  // from here on nobody takes away what it needs
               return ok();
             }));
  entry.view = hooks_.view(name);
  entry.object = LoadedPlugin::make<Plugin>(entry.library);
  if (!entry.object) return Error(ErrorCode::kFailed, "plug-in " + name + " made no object");
  if (Status started = entry.object->start(*entry.view); !started)
    return std::move(started).error().wrap("start plug-in " + name);
  log::info("plugin.loaded", {{"name", name}, {"version", entry.library->info().version}, {"owner", owner}});
  return ok();
}

/// Likewise, for its end.
void Plugins::stop(const std::string& name, Entry& entry) {
  const MemoryTrace trace(loader_.debug(), name, "unload");
  hooks_.retire(name);
  if (entry.object) entry.object->stop();
  entry.object.reset();
  entry.view.reset();
  entry.library.reset();
}

Result<PluginHandle> Plugins::load(const std::string& owner, const std::string& text) {
  MVM_ASSIGN(const LocatedPlugin wanted, located(text));
  return load(owner, wanted);
}

Result<PluginHandle> Plugins::load(const std::string& owner, const LocatedPlugin& wanted) {
  const std::string& text = wanted.wish;
  MVM_ASSIGN(const PluginWish wish, PluginWish::read(text));
  Lock lock(mutex_);
  for (;;) {
    const auto found = entries_.find(wish.name);
    if (found == entries_.end()) break;
    Entry& entry = found->second;
    if (entry.state != State::kRunning) {
      MVM_TRY(wait_for(lock, owner, wish.name));
      continue;
    }
    const PluginInfo& info = entry.info;
    if (!wish.allows(read_plugin_version(info.version)))
      return Error(ErrorCode::kConflict, "plug-in " + wish.name + " is loaded in version " + info.version +
                                             ", by " + entry.holdings.front().owner + "; asked for " + text);
    if (!wanted.folder.empty() && entry.folder != wanted.folder)
      return Error(ErrorCode::kConflict, "plug-in " + wish.name + " is loaded from another file, " +
                                             info.file.string() + "; unload it first");
    entry.holdings.push_back({next_++, owner, wanted});
    return entry.holdings.back().handle;
  }
  Entry& entry = entries_[wish.name];
  const PluginHandle handle = next_++;
  entry.order = handle;
  entry.folder = wanted.folder;
  entry.holdings.push_back({handle, owner, wanted});
  const auto mine = waiting_[owner].insert(wish.name);
  lock.unlock();
  Status started = start(wish.name, wanted, owner, entry);
  if (!started) {
    const std::lock_guard again(mutex_);
    entry.state = State::kStopping;
  }
  if (!started) stop(wish.name, entry);
  lock.lock();
  waiting_[owner].erase(mine);
  changed_.notify_all();
  if (started) {
    entry.state = State::kRunning;
    return handle;
  }
  entries_.erase(wish.name);
  adopt_orphans(wish.name);
  return std::move(started).error();
}

/// Another plug-in may need what only this one offers.
Status Plugins::not_needed(const std::string& name) const {
  for (const std::string& offer : entries_.at(name).info.offers)
    for (const auto& [other, user] : entries_)
      if (other != name && holds(user.info.needs, offer) && !offered(offer, name))
        return Error(ErrorCode::kConflict, "plug-in " + other + " needs " + offer + ", which only " + name +
                                               " offers; unload " + other + " first");
  return ok();
}

/// Undoes one loading of a plug-in that runs; the last one stops it. The name must outlive the entry.
Status Plugins::let_go(Lock& lock, const std::string& name, PluginHandle handle) {
  Entry& entry = entries_.at(name);
  const auto holding = std::find_if(entry.holdings.begin(), entry.holdings.end(),
                                    [&](const Holding& one) { return one.handle == handle; });
  const bool last = entry.holdings.size() == 1;
  if (last && hooks_.runs_here(name))
    return Error(ErrorCode::kConflict, "plug-in " + name + " cannot be unloaded by one of its operations");
  if (last) MVM_TRY(not_needed(name));
  if (std::exchange(holding->kept, false)) {
    if (Status recorded = record(); !recorded) {
      holding->kept = true;
      return recorded;
    }
  }
  if (!last) {
    entry.holdings.erase(holding);
    return ok();
  }
  entry.state = State::kStopping;
  lock.unlock();
  stop(name, entry);
  lock.lock();
  entries_.erase(name);
  adopt_orphans(name);
  changed_.notify_all();
  log::info("plugin.unloaded", {{"name", name}});
  return ok();
}

/// Nobody loads them again but the kernel, whose they are now.
void Plugins::adopt_orphans(const std::string& of) {
  bool any = false;
  for (auto& [name, entry] : entries_)
    for (Holding& holding : entry.holdings) {
      if (holding.owner != of) continue;
      holding.owner = kKernelOwner;
      any = holding.kept = true;
    }
  if (!any) return;
  if (Status recorded = record(); !recorded)
    log::warning("plugin.unrecorded", {{"owner", of}, {"reason", recorded.error().message()}});
}

Status Plugins::unload(const std::string& owner, PluginHandle handle) {
  Lock lock(mutex_);
  for (const auto& [name, entry] : entries_)
    for (const Holding& holding : entry.holdings)
      if (holding.handle == handle && holding.owner == owner && entry.state == State::kRunning)
        return let_go(lock, std::string(name), handle);
  return Error(ErrorCode::kNotFound, owner + " has loaded no plug-in with handle " + std::to_string(handle));
}

void* Plugins::symbol(const std::string& owner, PluginHandle handle, const char* name) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [plugin, entry] : entries_)
    for (const Holding& holding : entry.holdings)
      if (holding.handle == handle && holding.owner == owner && entry.state == State::kRunning)
        return entry.library->symbol(name);
  return nullptr;
}

Result<std::vector<std::string>> Plugins::load_stack(const std::vector<std::string>& wishes,
                                                     Sharing sharing) {
  if (wishes.size() > kMostInStack) return Error(ErrorCode::kInvalid, "too many plug-ins at once");
  std::vector<LocatedPlugin> wanted;
  for (const std::string& wish : wishes) {
    MVM_ASSIGN(LocatedPlugin one, located(wish));
    wanted.push_back(std::move(one));
  }
  std::vector<std::shared_ptr<const void>> kept;
  MVM_ASSIGN(const std::vector<LocatedPlugin> order, order_of(wanted, kept));
  std::vector<PluginHandle> done;
  std::vector<std::string> names;
  for (const LocatedPlugin& one : order) {
    names.push_back(one.wish.substr(0, one.wish.find('@')));
    auto loaded = load(kKernelOwner, one);
    Status fits = ok();
    if (loaded) done.push_back(*loaded);
    if (loaded && sharing != Sharing::kEveryone) fits = share(names.back(), sharing);
    if (loaded && fits) continue;
    for (auto handle = done.rbegin(); handle != done.rend(); ++handle) (void)unload(kKernelOwner, *handle);
    return loaded ? std::move(fits).error() : std::move(loaded).error();
  }
  return names;
}

/// With the lock.
Status Plugins::record() const {
  std::vector<std::pair<PluginHandle, KeptPlugin>> kept;
  for (const auto& [name, entry] : entries_)
    for (const Holding& holding : entry.holdings)
      if (holding.kept)
        kept.push_back({holding.handle,
                        {holding.from.folder.empty() ? holding.from.wish : kCache + holding.from.folder,
                         holding.from.asked, entry.sharing}});
  std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<KeptPlugin> list;
  for (auto& [handle, plugin] : kept) list.push_back(std::move(plugin));
  return hooks_.record(std::move(list));
}

Status Plugins::keep(const std::vector<std::string>& names) {
  const Lock lock(mutex_);
  std::vector<Holding*> fresh;
  for (const std::string& name : names) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) continue;
    auto& holdings = found->second.holdings;
    const auto holding = std::find_if(holdings.begin(), holdings.end(), [](const Holding& one) {
      return one.owner == kKernelOwner && !one.kept;
    });
    if (holding == holdings.end()) continue;
    holding->kept = true;
    fresh.push_back(&*holding);
  }
  Status recorded = record();
  if (!recorded)
    for (Holding* holding : fresh) holding->kept = false;
  return recorded;
}

Status Plugins::load_again(const KeptPlugin& kept) {
  auto wanted = located(kept.locator);
  if (!wanted && kept.asked != kept.locator) wanted = located(kept.asked);
  if (!wanted) return std::move(wanted).error();
  wanted->asked = kept.asked;
  MVM_ASSIGN(const PluginHandle handle, load(kKernelOwner, *wanted));
  const Lock lock(mutex_);
  for (auto& [name, entry] : entries_)
    for (Holding& holding : entry.holdings)
      if (holding.handle == handle) {
        holding.kept = true;
        if (!entry.core) entry.sharing = kept.sharing;
      }
  return ok();
}

Status Plugins::load_core(const std::string& name) {
  MVM_ASSIGN(const PluginHandle handle, load(kKernelOwner, name));
  static_cast<void>(handle);
  const std::lock_guard lock(mutex_);
  entries_.at(name).core = true;
  return ok();
}

/// A loading that a user may undo.
Result<PluginHandle> Plugins::kernels_holding(const std::string& name, bool kept) const {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.state != State::kRunning)
    return Error(ErrorCode::kNotFound, "no plug-in " + name + " is loaded");
  if (found->second.core)
    return Error(ErrorCode::kRefused, "plug-in " + name +
                                          " is a core service: it goes with the kernel, and is upgraded by "
                                          "replacing its file and restarting the kernel");
  for (const bool wanted : {kept, !kept})
    for (const Holding& holding : found->second.holdings)
      if (holding.owner == kKernelOwner && holding.kept == wanted) return holding.handle;
  return Error(ErrorCode::kRefused, "plug-in " + name + " belongs to " +
                                        found->second.holdings.front().owner + ", which loaded it");
}

Status Plugins::unload_for_kernel(const std::string& name, bool kept) {
  Lock lock(mutex_);
  MVM_ASSIGN(const PluginHandle handle, kernels_holding(name, kept));
  if (entries_.at(name).reserved)
    return Error(ErrorCode::kConflict, "plug-in " + name + " is about to be unloaded by another command");
  return let_go(lock, name, handle);
}

Status Plugins::reserve_unload(const std::string& name) {
  const Lock lock(mutex_);
  MVM_ASSIGN([[maybe_unused]] const PluginHandle handle, kernels_holding(name, true));
  Entry& entry = entries_.at(name);
  if (entry.reserved)
    return Error(ErrorCode::kConflict, "plug-in " + name + " is about to be unloaded by another command");
  if (entry.holdings.size() == 1) MVM_TRY(not_needed(name));
  entry.reserved = true;
  return ok();
}

Status Plugins::finish_unload(const std::string& name, bool kept) {
  Lock lock(mutex_);
  MVM_ASSIGN(const PluginHandle handle, kernels_holding(name, kept));
  entries_.at(name).reserved = false;
  return let_go(lock, name, handle);
}

void Plugins::release_unload(const std::string& name) {
  const Lock lock(mutex_);
  if (const auto found = entries_.find(name); found != entries_.end()) found->second.reserved = false;
}

void Plugins::unload_all() {
  Lock lock(mutex_);
  while (!entries_.empty()) {
    auto latest = entries_.end();
    for (auto one = entries_.begin(); one != entries_.end(); ++one)
      if (one->second.state == State::kRunning &&
          (latest == entries_.end() || one->second.order > latest->second.order))
        latest = one;
    if (latest == entries_.end()) {  // the others are on their way
      changed_.wait(lock);
      continue;
    }
    const std::string name = latest->first;
    latest->second.state = State::kStopping;
    lock.unlock();
    stop(name, latest->second);
    lock.lock();
    entries_.erase(name);
    changed_.notify_all();
  }
}

// ---- who may, and what there is ---------------------------------------------------------------------------

bool Plugins::may_call(const std::string& caller, const std::string& name) const {
  if (caller == kKernelOwner || caller == name || name == kKernelOwner) return true;
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return true;  // on its way out: its operations tell
  const Entry& entry = found->second;
  if (entry.sharing == Sharing::kEveryone) return true;
  if (caller == kOutside) return false;
  return entry.sharing == Sharing::kKernel ||
         std::any_of(entry.holdings.begin(), entry.holdings.end(),
                     [&](const Holding& holding) { return holding.owner == caller; });
}

Status Plugins::share(const std::string& name, Sharing sharing) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return Error(ErrorCode::kNotFound, "no plug-in " + name + " is loaded");
  if (found->second.core)
    return Error(ErrorCode::kRefused, "plug-in " + name + " is a core service, for everyone");
  const Sharing before = std::exchange(found->second.sharing, sharing);
  const auto& holdings = found->second.holdings;
  if (std::none_of(holdings.begin(), holdings.end(), [](const Holding& one) { return one.kept; }))
    return ok();
  Status recorded = record();
  if (!recorded) found->second.sharing = before;
  return recorded;
}

std::vector<PluginListing> Plugins::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::uint64_t, PluginListing>> found;
  for (const auto& [name, entry] : entries_) {
    PluginListing listing;
    listing.info = entry.info;
    listing.info.name = name;
    for (const Holding& holding : entry.holdings) listing.owners.push_back(holding.owner);
    listing.state = entry.state == State::kRunning    ? "running"
                    : entry.state == State::kStarting ? "starting"
                                                      : "stopping";
    listing.sharing = entry.sharing;
    listing.core = entry.core;
    found.emplace_back(entry.order, std::move(listing));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<PluginListing> list;
  for (auto& [order, listing] : found) list.push_back(std::move(listing));
  return list;
}

}  // namespace mvm::kernel
