#include "core.h"

#include <signal.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "toolchains.h"

namespace mvm::kernel {
namespace {

constexpr const char* kVersion = "0.1.0";
constexpr std::size_t kFewestThreads = 4;
constexpr unsigned kMostTries = 3;  // of a plug-in that ends the kernel
constexpr std::array kDefaultPlugins{"job", "builder", "queue", "node"};

/// Whose operations this thread runs, the innermost last.
thread_local std::vector<const std::string*> on_this_thread;

bool runs_here(const std::string& plugin) {
  return std::any_of(on_this_thread.begin(), on_this_thread.end(),
                     [&](const std::string* name) { return *name == plugin; });
}

void run_as(const std::string& plugin, const std::function<void()>& body) {
  on_this_thread.push_back(&plugin);
  body();
  on_this_thread.pop_back();
}

std::string architecture() {
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "unknown";
}

/// Where there is no host: what programs print goes where the kernel prints, the rest into its log.
void hear_alone(const channel::Event& event) {
  if (event.name.ends_with(".output")) {
    const int out = text_or(event.args, "stream") == "err" ? STDERR_FILENO : STDOUT_FILENO;
    (void)write_all(out, event.blob);
    return;
  }
  log::info(event.name,
            {{"args", event.args.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)}});
}

NodeConfig node_from(const Config& config, const LauncherLink& link) {
  const bool root = ::geteuid() == 0;
  return {.lab = config.lab,
          .node = config.node,
          .boot = link.boot,
          .work = config.work,
          .run = config.run,
          .prefix = config.prefix,
          .programs = config.programs,
          .user = root ? config.user : ::geteuid(),
          .group = root ? config.group : ::getegid(),
          .drops_privileges = root,
          .settings = config.settings};
}

}  // namespace

class Core::View final : public Kernel {
 public:
  View(Core& core, std::string owner) : core_(core), owner_(std::move(owner)) {}
  const NodeConfig& config() const override { return core_.node_; }
  Status handle(const std::string& op, Handler handler) override {
    return core_.offer(owner_, op, std::move(handler));
  }
  Status runnable(const std::string& function, RunBody body) override {
    return core_.runs_.offer(owner_, function, std::move(body));
  }
  Result<Answer> call(Call call) override { return core_.call(call.outside ? kOutside : owner_, call); }
  Status tell(const std::string& event, const nlohmann::json& args, const std::string& blob) override {
    auto told = core_.channel_->tell({.name = event, .args = args, .blob = blob});
    return told ? ok() : Status(told.error());
  }
  Status submit(std::function<void()> job) override { return core_.pool_->submit(std::move(job)); }
  ProcessManager& processes() override { return *core_.relay_; }
  const BlobStore& blobs() const override { return core_.blobs_; }
  Result<PluginHandle> load(const std::string& wish) override { return core_.plugins_.load(owner_, wish); }
  Status unload(PluginHandle handle) override { return core_.plugins_.unload(owner_, handle); }
  void* symbol(PluginHandle handle, const char* name) override {
    return core_.plugins_.symbol(owner_, handle, name);
  }

 private:
  Core& core_;
  std::string owner_;
};

Core::Core(const Config& config, const LauncherLink& link)
    : config_(config),
      link_(link),
      node_(node_from(config, link)),
      blobs_(*BlobStore::open(config.work / "blobs", {.keep_free = 8 << 20})),
      launcher_(UniqueFd(link.control)),
      runs_({.submit = [this](std::function<void()> job) { return pool_->try_submit(std::move(job)); },
             .most = [this] { return pool_->limits().maximum - kFewestThreads; },
             .as = [](const std::string& name, const std::function<void()>& body) { run_as(name, body); },
             .tell = [this](const std::string& op, nlohmann::json args) { notify(op, std::move(args)); }}),
      record_(config.run / "plugins", link.boot),
      plugins_({.folder = config.plugin_folder,
                .kind = kPluginKind,
                .api_version = kPluginApi,
                .debug = config.debug},
               plugin_cache() / "plugins",
               {.view = [this](const std::string& name) { return std::make_unique<View>(*this, name); },
                .retire = [this](const std::string& name) { retire(name); },
                .runs_here = [](const std::string& name) { return runs_here(name); },
                .locate = [this](const std::string& locator) { return locate(locator); },
                .record = [this](std::vector<KeptPlugin> kept) { return record_plugins(std::move(kept)); }}) {
}

Result<std::unique_ptr<Core>> Core::open(const Config& config, const LauncherLink& link,
                                         std::function<void()> launcher_lost) {
  // Tried here, because a constructor cannot fail.
  MVM_ASSIGN([[maybe_unused]] const BlobStore blobs, BlobStore::open(config.work / "blobs"));
  std::unique_ptr<Core> core(new Core(config, link));
  MVM_TRY(core->start(std::move(launcher_lost)));
  return core;
}

Status Core::start(std::function<void()> launcher_lost) {
  pool_ = std::make_unique<ThreadPool>(config_.pool);
  relay_ = std::make_unique<ProcessRelay>(
      launcher_, config_.run, [this](std::function<void()> job) { return pool_->submit(std::move(job)); });
  launcher_.start({.notice = [this](const nlohmann::json& notice) { relay_->on_notice(notice); },
                   .lost = std::move(launcher_lost)});
  channel::KernelEnd::Options options{.address = config_.channel,
                                      .node = config_.lab + "/" + config_.node,
                                      .boot = link_.boot,
                                      .journal = config_.run / "journal"};
  MVM_ASSIGN(channel_,
             channel::KernelEnd::open(
                 std::move(options),
                 {.request = [this](channel::Request request) { take(std::move(request)); },
                  .read_spool = [this](const channel::SpoolPart& part) { return relay_->read(part); },
                  .alone = hear_alone,
                  .acknowledged = [this](const auto& events) { relay_->on_acknowledged(events); }}));
  MVM_TRY(relay_->start(*channel_));
  if (link_.restarts > 0) {
    auto told =
        channel_->tell({.name = "node.kernel", .args = {{"restarted", true}, {"restarts", link_.restarts}}});
    if (!told) log::warning("kernel.untold", {{"reason", told.error().message()}});
  }
  commands_ = std::make_unique<Commands>(plugins_, runs_);
  offer_own();
  MVM_TRY(load_plugins());
  MVM_TRY(start_runs());
  MVM_TRY(spawn_programs());
  MVM_TRY(channel_->start());  // last: whoever asks finds every plug-in
  MVM_TRY(launcher_.ask("begun", nlohmann::json::object()));
  return ok();
}

Core::~Core() {
  if (channel_) channel_->stop();  // no more requests
  if (commands_) commands_->end();
  plugins_.unload_all();
  if (relay_) relay_->stop();
  pool_.reset();  // what still runs answers and tells, which the next kernel delivers
}

// ---- plug-ins --------------------------------------------------------------------------------------------

/// A kernel that is started again has what its predecessor had; the first one, what it was told to load.
Status Core::load_plugins() {
  const auto before = link_.restarts > 0 ? record_.read() : std::nullopt;
  if (before && before->pool) {
    if (Status adjusted = pool_->adjust(*before->pool); !adjusted)
      log::error("kernel.pool", {{"reason", adjusted.error().message()}});
  }
  std::vector<std::string> names = config_.plugins;
  const std::vector<std::string> available = plugins_.available();
  const auto has = [](const auto& list, const std::string& name) {
    return std::find(std::begin(list), std::end(list), name) != std::end(list);
  };
  if (config_.default_plugins)
    for (const std::string name : kDefaultPlugins)
      if (!has(names, name) && has(available, name)) names.push_back(name);
  std::vector<std::string> kept;
  for (const std::string& name : names) {
    const bool core = has(kDefaultPlugins, name);
    if (before && !core) continue;
    Status loaded = ok();
    if (core) {
      loaded = plugins_.load_core(name);
    } else if (auto names_of = plugins_.load_stack({name})) {
      kept.insert(kept.end(), names_of->begin(), names_of->end());
    } else {
      loaded = std::move(names_of).error();
    }
    if (loaded) continue;
    log::error("plugin.refused", {{"name", name}, {"reason", loaded.error().describe()}});
    if (has(config_.plugins, name)) return loaded;
  }
  if (before) return load_again(*before);
  recording_ = true;
  return plugins_.keep(kept);
}

Status Core::record_plugins(std::vector<KeptPlugin> plugins) {
  return recording_ ? record_.write({.plugins = std::move(plugins), .pool = pool_->limits()}) : ok();
}

/// In the order in which they were loaded; one that needs what comes later is tried again then. What cannot
/// be had any more is told, and so is a plug-in that ended the kernel each time it was started.
Status Core::load_again(PluginRecord::Content before) {
  const auto lost = [this](const KeptPlugin& plugin, const std::string& reason) {
    log::error("plugin.lost", {{"plugin", plugin.asked}, {"reason", reason}});
    auto told =
        channel_->tell({.name = "plugin.lost", .args = {{"plugin", plugin.asked}, {"reason", reason}}});
    if (!told) log::warning("kernel.untold", {{"reason", told.error().message()}});
  };
  std::vector<KeptPlugin>& plugins = before.plugins;
  if (before.tries >= kMostTries && before.at < plugins.size()) {
    lost(plugins[before.at], "the kernel ended each time it was started");
    plugins.erase(plugins.begin() + static_cast<std::ptrdiff_t>(before.at));
    before.tries = 0;
  }
  std::vector<std::size_t> ahead(plugins.size());
  std::iota(ahead.begin(), ahead.end(), std::size_t{0});
  std::vector<std::string> reasons(plugins.size());
  for (std::size_t last = ahead.size() + 1; ahead.size() < last;) {
    last = ahead.size();
    std::erase_if(ahead, [&](std::size_t i) {
      const unsigned tries = i == before.at ? before.tries + 1 : 1;
      Status loaded = record_.write({.plugins = plugins, .at = i, .tries = tries, .pool = pool_->limits()});
      if (loaded) loaded = plugins_.load_again(plugins[i]);
      if (!loaded) reasons[i] = loaded.error().describe();
      return loaded.has_value();
    });
  }
  for (const std::size_t i : ahead) lost(plugins[i], reasons[i]);
  recording_ = true;
  return plugins_.keep({});
}

/// "a worker task can be easily started by simply spawning the kernel with the application plug-in name in
/// the kernel command line" [Engelmann & Geist, lightweight kernel, §4]
Status Core::start_runs() {
  for (const std::vector<std::string>& words : config_.started) {
    const std::size_t colon = std::min(words[0].find(':'), words[0].size());
    RunOrder order{
        .run = {}, .plugin = words[0].substr(0, colon), .function = {}, .arguments = {}, .notify = {}};
    if (colon < words[0].size()) order.function = words[0].substr(colon + 1);
    order.arguments.assign(words.begin() + 1, words.end());
    if (auto run = runs_.start(order); !run) return std::move(run).error().wrap("start " + words[0]);
  }
  return ok();
}

/// Those that were started before a restart of the kernel are found as they are.
Status Core::spawn_programs() {
  if (config_.spawned.empty()) return ok();
  relay_->on_exit(kKernelOwner, [this](const ProcessInfo& info) {
    (void)relay_->finish(info.id, "spawn.exit",
                         {{"proc", info.id}, {"code", info.code}, {"signal", info.signal}});
  });
  for (std::size_t i = 0; i < config_.spawned.size(); ++i) {
    ProcessSpec spec;
    spec.id = "spawn/" + std::to_string(i);
    spec.owner = kKernelOwner;
    spec.group = "spawn";
    spec.argv = config_.spawned[i];
    spec.folder = config_.work;
    std::string path;
    for (const std::filesystem::path& folder : config_.programs)
      path += (path.empty() ? "" : ":") + folder.string();
    spec.environment = {{"PATH", path},
                        {"HOME", config_.work.string()},
                        {"MVM_NODE", node_.lab + "/" + node_.node},
                        {"MVM_WORK", config_.work.string()}};
    spec.output_event = "spawn.output";
    spec.output_args = {{"proc", spec.id}};
    auto started = relay_->start(spec, {});
    if (!started) return std::move(started).error().wrap("spawn " + spec.argv.front());
    log::info("program.spawned", {{"proc", spec.id}, {"program", spec.argv.front()}, {"pid", started->pid}});
  }
  return ok();
}

Status Core::load_one(const std::string& name, bool core) {
  if (core) return plugins_.load_core(name);
  MVM_TRY(plugins_.load_stack({name}));
  return ok();
}

std::filesystem::path Core::plugin_cache() const {
  return config_.locators.cache.empty() ? config_.work / "plugin-cache"
                                        : std::filesystem::path(config_.locators.cache);
}

/// Calls an operation; a plug-in of the preset folder is loaded for it where nobody offers it yet.
Result<nlohmann::json> Core::ask_plugin(const std::string& plugin, bool core, const std::string& op,
                                        nlohmann::json args) {
  {
    const std::lock_guard once(on_demand_mutex_);
    const bool offered = [&] {
      const std::lock_guard lock(operations_mutex_);
      return operations_.contains(op);
    }();
    if (Status loaded = offered ? ok() : load_one(plugin, core); !loaded)
      return std::move(loaded).error().wrap("no plug-in offers " + op);
  }
  Call asked{.op = op, .args = std::move(args)};
  MVM_ASSIGN(Answer answer, call(kKernelOwner, asked));
  return std::move(answer.result);
}

/// URLs are the kernel's own locators; URNs are what the resource manager, which anybody may replace, makes
/// URLs of. [Harness 000, §2.3]
Result<LocatedPlugin> Core::locate(const std::string& locator) {
  std::string url = locator;
  if (locator.starts_with("urn:")) {
    MVM_ASSIGN(const nlohmann::json found,
               ask_plugin("resources", false, "resources.resolve", {{"urn", locator}}));
    MVM_ASSIGN(url, need_text(found, "url"));
  }
  MVM_ASSIGN(const nlohmann::json fetched, ask_plugin("locator", true, "locator.fetch", {{"url", url}}));
  LocatedPlugin located{text_or(fetched, "plugin"), text_or(fetched, "folder"), locator};
  MVM_TRY(PluginWish::read(located.wish));
  if (!is_sha256(located.folder)) return Error(ErrorCode::kCorrupt, "the locator plug-in answered nonsense");
  return located;
}

void Core::retire(const std::string& plugin) {
  relay_->forget_owner(plugin);
  runs_.retire(plugin);
  std::unique_lock lock(operations_mutex_);
  std::erase_if(operations_, [&](const auto& entry) { return entry.second.owner == plugin; });
  operation_ended_.wait(lock, [&] { return running_[plugin] == 0; });
}

Status Core::offer(const std::string& owner, const std::string& op, Handler handler) {
  const std::lock_guard lock(operations_mutex_);
  const auto [at, fresh] =
      operations_.try_emplace(op, Operation{owner, std::make_shared<Handler>(std::move(handler))});
  if (!fresh)
    return Error(ErrorCode::kExists, "operation " + op + " is offered by plug-in " + at->second.owner);
  return ok();
}

// ---- operations ------------------------------------------------------------------------------------------

void Core::take(channel::Request request) {
  const std::string id = request.id;
  auto shared = std::make_shared<channel::Request>(std::move(request));
  const Status submitted = pool_->try_submit([this, shared] {
    Call asked{
        shared->op, std::move(shared->args), std::move(shared->blob), std::move(shared->descriptors), {}};
    auto answer = call(kOutside, asked);
    if (answer)
      channel_->reply(shared->id, channel::Reply{std::move(answer->result), std::move(answer->blob)});
    else
      channel_->reply(shared->id, answer.error());
  });
  if (!submitted)
    channel_->reply(id, Error(ErrorCode::kExhausted, "the kernel is busy: " + submitted.error().message()));
}

Result<Answer> Core::call(const std::string& caller, Call& call) {
  Operation operation;
  {
    const std::lock_guard lock(operations_mutex_);
    const auto found = operations_.find(call.op);
    if (found == operations_.end())
      return Error(ErrorCode::kUnsupported,
                   "no plug-in of this node offers \"" + call.op.substr(0, 80) + "\"");
    operation = found->second;
    ++running_[operation.owner];
  }
  auto answer = run(caller, operation.owner, *operation.handler, call);
  operation.handler.reset();  // its code is the plug-in's, which may go from here on
  const std::lock_guard lock(operations_mutex_);
  --running_[operation.owner];
  operation_ended_.notify_all();
  return answer;
}

Result<Answer> Core::run(const std::string& caller, const std::string& owner, const Handler& handler,
                         Call& call) {
  if (!plugins_.may_call(caller, owner))
    return Error(ErrorCode::kRefused,
                 "plug-in " + owner + " does not share \"" + call.op.substr(0, 80) + "\" with " + caller);
  call.caller = caller;
  Result<Answer> answer = Answer{};
  run_as(owner, [&] { answer = handler(call); });
  return answer;
}

/// What was asked to hear of the end of a run, and may be gone meanwhile.
void Core::notify(const std::string& op, nlohmann::json args) {
  Call asked{op, std::move(args), {}, {}, {}};
  if (const auto told = call(kKernelOwner, asked); !told)
    log::warning("run.untold", {{"op", op}, {"reason", told.error().message()}});
}

void Core::offer_own() {
  (void)offer("kernel", "node.info", [this](Call& call) -> Result<Answer> { return node_info(call); });
  (void)offer("kernel", "kernel.plugins", [this](Call&) -> Result<Answer> { return list_plugins(); });
  for (auto& [op, command] : commands_->operations()) {
    const bool changes = op == "kernel.load" || op == "kernel.unload";
    (void)offer("kernel", op, [this, changes, command = std::move(command)](Call& call) -> Result<Answer> {
      MVM_ASSIGN(auto done, command(call.args, call.caller == kOutside));
      Answer answer = changes ? list_plugins() : Answer{};
      answer.result.update(done);
      return answer;
    });
  }
  (void)offer("kernel", "kernel.share", [this](Call& call) { return share_plugin_of(call); });
  (void)offer("kernel", "kernel.locators", [this](Call&) -> Result<Answer> { return locator_rules(); });
  (void)offer("kernel", "kernel.pool", [this](Call& call) { return adjust_pool(call); });
}

Answer Core::node_info(const Call& call) {
  nlohmann::json names = nlohmann::json::array();
  for (const PluginListing& plugin : plugins_.list()) names.push_back(plugin.info.name);
  std::size_t running = 0;
  if (auto all = relay_->list({}))
    running = static_cast<std::size_t>(std::count_if(all->begin(), all->end(), [](const ProcessInfo& info) {
      return info.state == ProcessState::kRunning;
    }));
  const bool versions = flag_or(call.args, "versions");
  nlohmann::json toolchains;
  {
    const std::lock_guard lock(toolchains_mutex_);
    if (toolchains_.is_null() && versions) toolchains_ = find_toolchains(config_, true);
    toolchains = toolchains_.is_null() ? find_toolchains(config_, false) : toolchains_;
  }
  const auto uptime =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin_)
          .count();
  return {{{"node", node_.lab + "/" + node_.node},
           {"boot", node_.boot},
           {"arch", architecture()},
           {"version", kVersion},
           {"toolchains", std::move(toolchains)},
           {"plugins", std::move(names)},
           {"processes", running},
           {"restarts", link_.restarts},
           {"pid", ::getpid()},
           {"uptime_ms", uptime}},
          {}};
}

Answer Core::list_plugins() {
  std::map<std::string, std::vector<std::string>> operations;
  {
    const std::lock_guard lock(operations_mutex_);
    for (const auto& [op, operation] : operations_) operations[operation.owner].push_back(op);
  }
  nlohmann::json list = nlohmann::json::array();
  for (const PluginListing& plugin : plugins_.list())
    list.push_back({{"name", plugin.info.name},
                    {"version", plugin.info.version},
                    {"file", plugin.info.file.string()},
                    {"owner", plugin.info.owner},
                    {"owners", plugin.owners},
                    {"offers", plugin.info.offers},
                    {"needs", plugin.info.needs},
                    {"operations", operations[plugin.info.name]},
                    {"functions", runs_.functions_of(plugin.info.name)},
                    {"sharing", text_of(plugin.sharing)},
                    {"core", plugin.core},
                    {"state", plugin.state}});
  return {{{"plugins", std::move(list)}}, {}, {}};
}

Answer Core::locator_rules() const {
  const LocatorConfig& rules = config_.locators;
  return {{{"repositories", rules.repositories},
           {"keys", rules.keys},
           {"allow_unsigned", rules.allow_unsigned},
           {"folders", rules.folders},
           {"authorities", rules.authorities},
           {"cache", plugin_cache().string()},
           {"cache_bytes", rules.cache_bytes},
           {"time_ms", rules.time_ms},
           {"architecture", architecture()},
           {"debug", config_.debug}},
          {},
          {}};
}

Result<Answer> Core::share_plugin_of(const Call& call) {
  MVM_ASSIGN(const std::string name, need_text(call.args, "plugin", 300));
  MVM_ASSIGN(const std::string wanted, need_text(call.args, "sharing", 20));
  MVM_ASSIGN(const Sharing sharing, sharing_of(wanted));
  MVM_TRY(plugins_.share(name, sharing));
  return list_plugins();
}

/// What is not named stays as it is, also when the kernel is started again. [Engelmann & Geist, §2.2:
/// "modified at runtime"]
Result<Answer> Core::adjust_pool(const Call& call) {
  constexpr std::uint64_t kMost = 1024;
  ThreadPoolLimits limits = pool_->limits();
  limits.minimum = static_cast<std::size_t>(std::min(kMost, number_or(call.args, "minimum", limits.minimum)));
  limits.maximum = static_cast<std::size_t>(std::min(kMost, number_or(call.args, "maximum", limits.maximum)));
  limits.queue = static_cast<std::size_t>(std::min(kMost, number_or(call.args, "queue", limits.queue)));
  limits.idle_timeout = std::chrono::milliseconds(
      number_or(call.args, "idle_ms", static_cast<std::uint64_t>(limits.idle_timeout.count())) %
      (1ULL << 31));
  // Fewer could leave none for an operation that waits for another one.
  if (limits.maximum < kFewestThreads)
    return Error(ErrorCode::kInvalid,
                 "the kernel needs at least " + std::to_string(kFewestThreads) + " threads");
  MVM_TRY(pool_->adjust(limits));
  if (!call.args.empty()) MVM_TRY(plugins_.keep({}));  // writes the record
  return Answer{{{"minimum", limits.minimum},
                 {"maximum", limits.maximum},
                 {"queue", limits.queue},
                 {"idle_ms", limits.idle_timeout.count()},
                 {"threads", pool_->threads()},
                 {"queued", pool_->queued()}},
                {},
                {}};
}

}  // namespace mvm::kernel
