#include "current.h"

#include <algorithm>

#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "mvm/base/secret_file.h"

namespace mvm::plugins::registry {
namespace {

using nlohmann::json;

constexpr const char* kChosen = "registry.json";
constexpr const char* kSecret = "registry.secret";
constexpr const char* kReplica = "registry.raft";
constexpr std::size_t kLargestChosen = 1 << 16;
constexpr std::chrono::seconds kLeaving{10};

}  // namespace

Status Current::open() {
  std::error_code ignored;
  if (!std::filesystem::exists(file(kChosen), ignored)) {
    MVM_ASSIGN(Provider provider, open_provider(node_, clock_));
    return serve(std::move(provider));
  }
  if (Status begun = begin_chosen(); !begun) {
    log::error("registry.failed", {{"reason", begun.error().describe()}});
    set_trouble(begun.error().describe());
  }
  return ok();
}

/// The port that a replica found is its own from then on: the others are told it before anything else.
Status Current::begin_chosen() {
  MVM_ASSIGN(Settings settings, chosen());
  kernel::NodeConfig config = node_;
  for (const auto& [name, value] : settings) config.settings[name] = value;
  config.settings["registry.raft.secret"] = file(kSecret);
  config.settings["registry.raft.folder"] = file(kReplica);
  MVM_ASSIGN(Provider provider, open_provider(config, clock_));
  if (provider.raft != nullptr) {
    const std::string address = provider.raft->replica().self().address;
    if (settings["registry.raft.address"] != address) {
      settings["registry.raft.address"] = address;
      MVM_TRY(note(settings));
    }
  }
  return serve(std::move(provider));
}

Status Current::serve(Provider provider) {
  MVM_TRY(join_group(provider));
  serving_.lend(std::make_unique<Serving>(std::move(provider)));
  set_trouble({});
  return ok();
}

void Current::end() {
  if (!serving_.borrow()) return;
  set_trouble("its provider is being exchanged; try again");
  (void)serving_.take_back([](Serving& serving) {
    serving.sessions.end();
    serving.provider.registry->stop();
  });
}

Result<std::shared_ptr<Current::Serving>> Current::serving() const {
  if (auto now = serving_.borrow()) return now;
  return Error(ErrorCode::kUnavailable, "the registry of this node serves nothing: " + trouble());
}

void Current::set_trouble(std::string why) {
  const std::lock_guard lock(mutex_);
  trouble_ = std::move(why);
}

std::string Current::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

// ---- as the host wants it
// -----------------------------------------------------------------------------------

bool Current::configured() const {
  std::error_code ignored;
  return std::filesystem::exists(file(kChosen), ignored);
}

Result<Current::Settings> Current::chosen() const {
  MVM_ASSIGN(const std::string text, read_private_file(file(kChosen), kLargestChosen));
  const json read = json::parse(text, nullptr, false);
  MVM_ASSIGN(const auto pairs, text_map_of({{"settings", read}}, "settings", kMostChosen));
  Settings settings(pairs.begin(), pairs.end());
  MVM_TRY(hosts_to_choose(settings));
  return settings;
}

Status Current::note(const Settings& settings) const {
  return write_file_durably(file(kChosen),
                            json(settings).dump(-1, ' ', false, json::error_handler_t::replace), 0600);
}

Status Current::clear() const {
  // What counts goes first.
  for (const char* name : {kChosen, kSecret, kReplica}) MVM_TRY(remove_tree(file(name)));
  return ok();
}

Status Current::empty() const {
  MVM_ASSIGN(const auto serving, this->serving());
  MVM_ASSIGN(const auto listing, serving->provider.registry->list("*", {}, 1));
  if (listing.infos.empty()) return ok();
  return Error(ErrorCode::kConflict,
               "the registry of this node holds " + listing.infos.front().name +
                   " and maybe more; delete what it holds first (mvm reg ls, mvm reg del)");
}

Status Current::configure(const Settings& settings, const std::string& secret) {
  MVM_TRY(hosts_to_choose(settings));
  const std::lock_guard one(changing_);
  if (configured() || node_.settings.contains("registry.provider"))
    return Error(ErrorCode::kConflict, "the provider of this node's registry was chosen already");
  const std::unique_lock still(updating_);
  MVM_TRY(empty());
  end();
  Status begun = clear();
  if (begun && !secret.empty()) begun = write_file_durably(file(kSecret), secret, 0600);
  if (begun) begun = note(settings);
  if (begun) begun = begin_chosen();
  if (begun) return ok();
  if (Status back = clear(); back) back = open();
  return begun;
}

Result<bool> Current::forget(bool force) {
  const std::lock_guard one(changing_);
  if (!configured()) return false;
  if (const auto now = serving(); now && (*now)->provider.raft != nullptr) {
    const Status left = take_leave((*now)->provider.raft->replica());
    if (!left && !force) return left.error();
  }
  const std::unique_lock still(updating_);
  end();
  MVM_TRY(clear());
  MVM_TRY(open());
  return true;
}

Result<std::string> Current::group_secret() const {
  MVM_ASSIGN(const auto now, serving());
  if (now->provider.raft == nullptr || !configured())
    return Error(ErrorCode::kConflict,
                 "the registry of this node is of no replicated group that a host made");
  return read_secret_file(file(kSecret), kShortestSecret);
}

Status take_leave(replica::Replica& replica) {
  const auto members = replica.members();
  const std::uint64_t self = replica.self().id;
  if (std::none_of(members.begin(), members.end(),
                   [&](const replica::MemberState& one) { return one.member.id != self && !one.dead; }))
    return ok();
  auto told = std::make_shared<std::promise<Status>>();
  auto done = told->get_future();
  replica.leave([told](Status status) { told->set_value(std::move(status)); });
  if (done.wait_for(kLeaving) != std::future_status::ready)
    return Error(ErrorCode::kTimeout, "the others did not confirm that this member leaves; try again");
  return done.get();
}

// ---- the registry
// -------------------------------------------------------------------------------------------

Result<std::uint64_t> Current::lease_of(const std::string& owner) {
  MVM_ASSIGN(const auto now, serving());
  return now->sessions.lease_of(owner);
}

void Current::forget_lease(const std::string& owner, std::uint64_t lease) {
  if (const auto now = serving(); now) (*now)->sessions.forget(owner, lease);
}

Result<mvm::registry::Applied> Current::update(const mvm::registry::Update& update) {
  const std::shared_lock still(updating_);
  MVM_ASSIGN(const auto now, serving());
  return now->provider.registry->update(update);
}

Result<mvm::registry::Instance> Current::read(std::string_view name, std::uint64_t index,
                                              std::uint32_t flags) {
  MVM_ASSIGN(const auto now, serving());
  return now->provider.registry->read(name, index, flags);
}

Result<mvm::registry::Listing> Current::list(std::string_view pattern,
                                             const std::optional<mvm::registry::Position>& after,
                                             std::size_t limit) {
  MVM_ASSIGN(const auto now, serving());
  return now->provider.registry->list(pattern, after, limit);
}

Result<mvm::registry::Events> Current::watch(std::uint64_t after, std::string_view pattern,
                                             std::chrono::milliseconds wait, std::size_t limit) {
  MVM_ASSIGN(const auto now, serving());
  return now->provider.registry->watch(after, pattern, wait, limit);
}

Status Current::keep_alive(std::uint64_t lease) {
  MVM_ASSIGN(const auto now, serving());
  return now->provider.registry->keep_alive(lease);
}

void Current::stop() { end(); }

}  // namespace mvm::plugins::registry
