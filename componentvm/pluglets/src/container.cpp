#include "mvm/pluglets/container.h"

#include <algorithm>
#include <list>

#include "control.h"
#include "mvm/base/log.h"
#include "ports.h"
#include "turn.h"

namespace mvm::pluglets {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMost = 4096;
constexpr std::size_t kMostParameters = 64;
constexpr std::size_t kLongestParameter = 4096;
constexpr std::size_t kMostPorts = 64;
constexpr milliseconds kPatience{30'000};  // for calls to end

bool plain(const std::string& name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

std::string type_of(const std::string& wish) { return wish.substr(0, wish.find('@')); }

/// One pluglet.
class Entry final : public ExecutionContext {
 public:
  std::string id_, uri_, owner_;
  Deployment deployment_;
  Turn life_;  // its methods are called one at a time
  std::shared_ptr<LoadedPlugin> library_;
  std::shared_ptr<Pluglet> object_;
  Suspendible* suspendible_ = nullptr;
  std::shared_ptr<Door> door_ = std::make_shared<Door>();
  std::map<std::string, std::shared_ptr<Gate>> provides_;
  std::map<std::string, std::unique_ptr<Port>> uses_;
  mutable std::mutex mutex_;  // of what follows
  State state_ = State::kDeployed;
  std::string reason_;

  const std::string& uri() const override { return uri_; }
  const std::string& id() const override { return id_; }
  const std::map<std::string, std::string>& parameters() const override { return deployment_.parameters; }
  UsesPort* uses(const std::string& port) override {
    const auto found = uses_.find(port);
    return found == uses_.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] State state() const {
    const std::lock_guard lock(mutex_);
    return state_;
  }
  void become(State state, std::string reason = {}) {
    const std::lock_guard lock(mutex_);
    state_ = state;
    reason_ = std::move(reason);
  }
};
using EntryPtr = std::shared_ptr<Entry>;

Error missing(const std::string& id) {
  return Error(ErrorCode::kNotFound, "there is no pluglet " + id.substr(0, 80));
}

class TheContainer final : public Container, public Controlled {
 public:
  TheContainer(Options options, const rmix::Providers& providers)
      : options_(std::move(options)),
        providers_(providers),
        loader_({.folder = options_.folder, .kind = kPlugletKind, .api_version = kPlugletApi}),
        client_(rmix::Client::create(providers_, {.token = options_.token, .tls = options_.tls})),
        server_(rmix::Server::create(providers_, {.tls = options_.tls})) {
    (void)server_->add(kControl, make_control(*this));
  }
  ~TheContainer() override {
    (void)server_->remove(kControl);
    const Actor provider{.provider = true, .names = {}};
    for (EntryPtr entry; (entry = latest());) {
      if (next_state(entry->state(), Event::kStop)) (void)act(provider, entry->id_, Event::kStop);
      if (!act(provider, entry->id_, Event::kDestroy)) forget(*entry);
    }
    server_.reset();
  }
  TheContainer(const TheContainer&) = delete;
  TheContainer& operator=(const TheContainer&) = delete;

  Result<std::string> deploy(const Actor& actor, const Deployment& deployment) override;
  Status act(const Actor& actor, const std::string& id, Event event) override;
  std::vector<PlugletView> list(const Actor& actor) const override;
  Status connect(const Actor& actor, const std::string& id, const std::string& port,
                 const std::string& target) override;
  Status disconnect(const Actor& actor, const std::string& id, const std::string& port) override;
  Result<std::string> listen(const std::string& endpoint) override { return server_->listen(endpoint); }
  Result<std::string> reference(const Actor& actor, const std::string& id,
                                const std::string& port) const override;
  Actor actor_of(const rmix::Caller& caller) const override;

 private:
  [[nodiscard]] EntryPtr find(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::find_if(entries_.begin(), entries_.end(), [&](const EntryPtr& one) { return one->id_ == id; });
    return found == entries_.end() ? nullptr : *found;
  }
  [[nodiscard]] EntryPtr latest() const {
    const std::lock_guard lock(mutex_);
    return entries_.empty() ? nullptr : entries_.back();
  }
  void forget(const Entry& entry) {
    const std::lock_guard lock(mutex_);
    entries_.remove_if([&](const EntryPtr& one) { return one.get() == &entry; });
  }
  [[nodiscard]] Result<EntryPtr> reserve(const Actor& actor, const Deployment& deployment);
  Status fill(Entry& entry);
  Status offer(Entry& entry);
  void withdraw(Entry& entry);
  Status carry_out(Entry& entry, Event event);
  [[nodiscard]] Result<std::shared_ptr<Wire>> wire_to(const Actor& actor, const Port& port,
                                                      const std::string& target);

  const Options options_;
  const rmix::Providers providers_;
  const PluginLoader loader_;
  // By file: what a pluglet has made, such as descriptions of its ports, may be held by calls and connections
  // that outlive it. Goes last.
  std::map<std::string, std::shared_ptr<LoadedPlugin>> mapped_;
  std::unique_ptr<rmix::Client> client_;
  std::unique_ptr<rmix::Server> server_;
  mutable std::mutex mutex_;
  std::list<EntryPtr> entries_;  // in the order of their deployment
  std::uint64_t next_ = 1;
};

// ---- deployment -------------------------------------------------------------------------------------------

Result<EntryPtr> TheContainer::reserve(const Actor& actor, const Deployment& deployment) {
  std::size_t longest = 0;
  for (const auto& [name, value] : deployment.parameters)
    longest = std::max({longest, name.size(), value.size()});
  if (deployment.parameters.size() > kMostParameters || longest > kLongestParameter)
    return Error(ErrorCode::kInvalid, "a pluglet has at most 64 parameters of 4 KiB each");
  const std::lock_guard lock(mutex_);
  auto entry = std::make_shared<Entry>();
  entry->deployment_ = deployment;
  entry->owner_ = actor.text();
  entry->id_ = deployment.id;
  const auto taken = [&](const std::string& id) {
    return std::any_of(entries_.begin(), entries_.end(), [&](const EntryPtr& one) { return one->id_ == id; });
  };
  if (deployment.id.empty()) {
    std::string base = type_of(deployment.type).substr(0, 20);
    std::replace_if(
        base.begin(), base.end(), [](char c) { return !plain(std::string(1, c)); }, '-');
    do entry->id_ = base + "-" + std::to_string(next_++);
    while (taken(entry->id_));
  }
  if (!plain(entry->id_))
    return Error(ErrorCode::kInvalid,
                 "\"" + entry->id_.substr(0, 40) + "\" is no name: letters a-z, digits, dashes, at most 32");
  if (taken(entry->id_)) return Error(ErrorCode::kExists, "there is a pluglet " + entry->id_);
  if (entries_.size() >= kMost) return Error(ErrorCode::kExhausted, "too many pluglets");
  entry->uri_ = "pluglet:" + options_.node + "/" + entry->id_;
  entries_.push_back(entry);
  return entry;
}

/// Loads the code, makes the object, and asks for its ports.
Status TheContainer::fill(Entry& entry) {
  MVM_ASSIGN(entry.library_, loader_.load(entry.deployment_.type, entry.owner_));
  {
    const std::lock_guard lock(mutex_);
    mapped_.try_emplace(entry.library_->info().file.string(), entry.library_);
  }
  entry.object_ = LoadedPlugin::make<Pluglet>(entry.library_);
  if (!entry.object_)
    return Error(ErrorCode::kFailed, "pluglet " + entry.deployment_.type + " made no object");
  entry.suspendible_ = dynamic_cast<Suspendible*>(entry.object_.get());
  auto* const component = dynamic_cast<Component*>(entry.object_.get());
  if (component == nullptr) return ok();
  for (Provides& one : component->provides()) {
    if (!plain(one.port) || !one.service || !one.service->interface() || entry.provides_.size() >= kMostPorts)
      return Error(ErrorCode::kInvalid,
                   "a provides port of " + entry.deployment_.type + " has no name or no service");
    if (!entry.provides_.try_emplace(one.port, std::make_shared<Gate>(std::move(one.service), entry.door_))
             .second)
      return Error(ErrorCode::kInvalid, entry.deployment_.type + " provides " + one.port + " twice");
  }
  for (Uses& one : component->uses()) {
    if (!plain(one.port) || !one.interface || entry.uses_.size() >= kMostPorts)
      return Error(ErrorCode::kInvalid,
                   "a uses port of " + entry.deployment_.type + " has no name or no type");
    if (!entry.uses_.try_emplace(one.port, std::make_unique<Port>(std::move(one.interface))).second)
      return Error(ErrorCode::kInvalid, entry.deployment_.type + " uses " + one.port + " twice");
  }
  return ok();
}

/// To those elsewhere; the door is closed until it starts.
Status TheContainer::offer(Entry& entry) {
  for (const auto& [port, gate] : entry.provides_)
    MVM_TRY(server_->add(entry.id_ + "." + port, gate,
                         [this, id = entry.id_, owner = entry.owner_](
                             const rmix::Caller& caller, const rmix::Interface&, const rmix::Method&) {
                           return options_.policy.may(actor_of(caller), "call", id, owner);
                         }));
  return ok();
}

/// The door is closed: nothing of it runs. What others hold of it answers that it is gone.
void TheContainer::withdraw(Entry& entry) {
  for (const auto& [port, gate] : entry.provides_) {
    (void)server_->remove(entry.id_ + "." + port);
    gate->drop();
  }
  for (const auto& [port, uses] : entry.uses_) uses->connect(nullptr, {});
  entry.suspendible_ = nullptr;
  entry.object_.reset();
  entry.library_.reset();
}

Result<std::string> TheContainer::deploy(const Actor& actor, const Deployment& deployment) {
  MVM_TRY(options_.policy.may(actor, "deploy", type_of(deployment.type), {}));
  MVM_ASSIGN(const EntryPtr entry, reserve(actor, deployment));
  const std::lock_guard life(entry->life_);
  Status made = fill(*entry);
  if (made) made = offer(*entry);
  if (made) {
    made = entry->object_->init(*entry);
    if (!made) entry->object_->destroy();
  }
  if (!made) {
    withdraw(*entry);
    forget(*entry);
    return std::move(made).error().wrap("deploy " + deployment.type.substr(0, 80));
  }
  entry->become(*next_state(State::kDeployed, Event::kInit));
  log::info("pluglet.deployed", {{"uri", entry->uri_}, {"type", deployment.type}, {"by", entry->owner_}});
  return entry->uri_;
}

// ---- life -------------------------------------------------------------------------------------------------

/// The pluglet's own part; its state is the caller's.
Status TheContainer::carry_out(Entry& entry, Event event) {
  switch (event) {
    case Event::kStart:
      MVM_TRY(entry.object_->start());
      entry.door_->open();
      return ok();
    case Event::kResume:
      MVM_TRY(entry.suspendible_->resume());
      entry.door_->open();
      return ok();
    case Event::kSuspend:
      return entry.suspendible_->suspend();
    case Event::kStop:
      entry.object_->stop();
      return ok();
    case Event::kDestroy:
      entry.object_->destroy();
      withdraw(entry);
      forget(entry);
      return ok();
    default:
      return Error(ErrorCode::kInvalid, std::string(to_string(event)) + " cannot be asked for");
  }
}

Status TheContainer::act(const Actor& actor, const std::string& id, Event event) {
  const EntryPtr entry = find(id);
  if (!entry) return missing(id);
  MVM_TRY(options_.policy.may(actor, to_string(event), id, entry->owner_));
  if (entry->door_->mine())
    return Error(ErrorCode::kConflict,
                 "pluglet " + id + " cannot do so while it serves the call that asks for it");
  const std::unique_lock life(entry->life_, kPatience);
  if (!life.owns_lock()) return Error(ErrorCode::kTimeout, "pluglet " + id + " is busy with its own life");
  const State before = entry->state();
  const auto after = next_state(before, event);
  if (!after)
    return Error(ErrorCode::kConflict, "pluglet " + id + " is " + std::string(to_string(before)) +
                                           ": it cannot " + std::string(to_string(event)));
  if ((event == Event::kSuspend || event == Event::kResume) && entry->suspendible_ == nullptr)
    return Error(ErrorCode::kUnsupported, "pluglet " + id + " cannot be suspended");
  if ((event == Event::kStop || event == Event::kSuspend) && !entry->door_->close(kPatience))
    return Error(ErrorCode::kTimeout, "calls of pluglet " + id + " do not end");
  Status done = carry_out(*entry, event);
  if (done)
    entry->become(*after);
  else
    entry->become(State::kFailed, done.error().describe());
  log::info("pluglet.life", {{"uri", entry->uri_},
                             {"event", to_string(event)},
                             {"by", actor.text()},
                             {"reason", done ? std::string() : done.error().message()}});
  return done;
}

// ---- wires ------------------------------------------------------------------------------------------------

Result<std::shared_ptr<Wire>> TheContainer::wire_to(const Actor& actor, const Port& port,
                                                    const std::string& target) {
  const auto refuse_type = [&](const rmix::Interface& found) {
    return Error(ErrorCode::kUnsupported,
                 "the port uses " + port.interface()->text() + ", and " + target + " provides " +
                     found.text() +
                     (found.text() == port.interface()->text() ? ", described otherwise" : ""));
  };
  if (target.find(' ') != std::string::npos) {
    MVM_ASSIGN(const auto address, rmix::Address::read(target));
    MVM_ASSIGN(auto remote, client_->bind(address, port.interface()));
    return std::static_pointer_cast<Wire>(std::make_shared<RemoteWire>(std::move(remote)));
  }
  const std::size_t dot = target.find('.');
  const EntryPtr other = find(target.substr(0, dot));
  if (!other || dot == std::string::npos) return missing(target);
  const auto gate = other->provides_.find(target.substr(dot + 1));
  if (gate == other->provides_.end())
    return Error(ErrorCode::kNotFound,
                 "pluglet " + other->id_ + " provides no port " + target.substr(dot + 1, 80));
  MVM_TRY(options_.policy.may(actor, "call", other->id_, other->owner_));
  const rmix::InterfacePtr found = gate->second->interface();
  if (rmix::digest(*found) != rmix::digest(*port.interface())) return refuse_type(*found);
  return std::static_pointer_cast<Wire>(std::make_shared<LocalWire>(gate->second));
}

Status TheContainer::connect(const Actor& actor, const std::string& id, const std::string& port,
                             const std::string& target) {
  const EntryPtr entry = find(id);
  if (!entry) return missing(id);
  MVM_TRY(options_.policy.may(actor, "connect", id, entry->owner_));
  const auto found = entry->uses_.find(port);
  if (found == entry->uses_.end())
    return Error(ErrorCode::kNotFound, "pluglet " + id + " uses no port " + port.substr(0, 80));
  MVM_ASSIGN(auto wire, wire_to(actor, *found->second, target));
  found->second->connect(std::move(wire), target);
  return ok();
}

Status TheContainer::disconnect(const Actor& actor, const std::string& id, const std::string& port) {
  const EntryPtr entry = find(id);
  if (!entry) return missing(id);
  MVM_TRY(options_.policy.may(actor, "connect", id, entry->owner_));
  const auto found = entry->uses_.find(port);
  if (found == entry->uses_.end())
    return Error(ErrorCode::kNotFound, "pluglet " + id + " uses no port " + port.substr(0, 80));
  found->second->connect(nullptr, {});
  return ok();
}

Result<std::string> TheContainer::reference(const Actor& actor, const std::string& id,
                                            const std::string& port) const {
  const EntryPtr entry = find(id);
  if (!entry) return missing(id);
  MVM_TRY(options_.policy.may(actor, "call", id, entry->owner_));
  return server_->reference(id + "." + port);
}

// ---- looking ----------------------------------------------------------------------------------------------

std::vector<PlugletView> TheContainer::list(const Actor& actor) const {
  std::vector<EntryPtr> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.assign(entries_.begin(), entries_.end());
  }
  std::vector<PlugletView> views;
  for (const EntryPtr& entry : entries) {
    const State state = entry->state();
    // Its ports are there once init() has returned.
    if (state == State::kDeployed || !options_.policy.may(actor, "look", entry->id_, entry->owner_)) continue;
    PlugletView view{.id = entry->id_,
                     .uri = entry->uri_,
                     .type = entry->deployment_.type,
                     .owner = entry->owner_,
                     .state = state,
                     .reason = {},
                     .provides = {},
                     .uses = {},
                     .wires = {}};
    {
      const std::lock_guard lock(entry->mutex_);
      view.reason = entry->reason_;
    }
    for (const auto& [port, gate] : entry->provides_) view.provides[port] = gate->interface()->text();
    for (const auto& [port, uses] : entry->uses_) {
      view.uses[port] = uses->interface()->text();
      if (uses->connected()) view.wires[port] = uses->target();
    }
    views.push_back(std::move(view));
  }
  return views;
}

Actor TheContainer::actor_of(const rmix::Caller& caller) const {
  Actor actor;
  if (!caller.certificate.empty()) actor.names.insert("certificate:" + caller.certificate);
  if (caller.uid) actor.names.insert("uid:" + std::to_string(*caller.uid));
  if (const std::string user = options_.policy.user_of(caller.token); !user.empty())
    actor.names.insert("user:" + user);
  return actor;
}

}  // namespace

std::unique_ptr<Container> Container::create(Options options, const rmix::Providers& providers) {
  return std::make_unique<TheContainer>(std::move(options), providers);
}

}  // namespace mvm::pluglets
