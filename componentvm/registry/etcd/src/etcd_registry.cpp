#include "mvm/registry/etcd/etcd_registry.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "changes.h"
#include "client.h"
#include "keys.h"
#include "mvm/base/json.h"
#include "mvm/registry/feed.h"
#include "mvm/registry/packing.h"
#include "txn.h"

namespace mvm::registry {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
using Repeat = EtcdClient::Repeat;
using Kind = Operation::Kind;

constexpr std::chrono::seconds kRequestTtl{900};       // how long an answered request is remembered, at least
constexpr std::chrono::seconds kRequestLeaseUse{300};  // how long one lease serves new requests
constexpr std::size_t kPage = 1000;
// A member that hangs ends no stream: it is asked anew so often, and another one if it does not even begin.
constexpr std::chrono::seconds kFollowOne{5};

/// What the names and leases of an update are in etcd, at one revision.
struct View {
  std::uint64_t revision = 0;
  std::vector<Info> infos;
  std::map<std::uint64_t, LeaseInfo> leases;
  std::optional<Applied> answered;  // the request was applied before
};

class EtcdRegistry final : public Registry {
 public:
  explicit EtcdRegistry(EtcdOptions options) : keys_(options.prefix), client_(std::move(options)) {}
  ~EtcdRegistry() override;
  EtcdRegistry(const EtcdRegistry&) = delete;
  EtcdRegistry& operator=(const EtcdRegistry&) = delete;

  Result<Applied> update(const Update& update) override;
  Result<Instance> read(std::string_view name, std::uint64_t index, std::uint32_t flags) override;
  Result<Listing> list(std::string_view pattern, const std::optional<Position>& after,
                       std::size_t limit) override;
  Result<Events> watch(std::uint64_t after, std::string_view pattern, milliseconds wait,
                       std::size_t limit) override;
  Status keep_alive(std::uint64_t lease) override;
  void stop() override;

 private:
  [[nodiscard]] Result<View> look(const Update& update);
  [[nodiscard]] Result<Info> info_of(const json& pair) const;
  [[nodiscard]] Result<std::uint64_t> revision();
  [[nodiscard]] Result<std::uint64_t> request_lease();
  [[nodiscard]] Result<Applied> apply(const Update& update);
  [[nodiscard]] Status read_taken(Effect& effect, const Update& update);
  [[nodiscard]] Result<std::optional<std::uint64_t>> commit(const Update& update, const View& view,
                                                            const Effect& effect);
  [[nodiscard]] Result<std::uint64_t> new_lease(milliseconds ttl);
  [[nodiscard]] Result<Applied> grant(const Update& update);
  [[nodiscard]] Result<Applied> revoke(const Operation& operation);

  [[nodiscard]] Status start_following();
  void follow();
  [[nodiscard]] json watch_request(std::uint64_t after) const;
  [[nodiscard]] Result<Events> catch_up(std::uint64_t after, std::string_view pattern, milliseconds wait,
                                        std::size_t limit);

  Keys keys_;
  EtcdClient client_;
  std::atomic<bool> stopped_{false};

  std::mutex lease_mutex_;
  std::uint64_t request_lease_ = 0;
  SteadyClock::time_point request_lease_until_;

  std::mutex feed_mutex_;
  std::unique_ptr<Feed> feed_;  // from the first watch on
  std::uint64_t feed_begin_ = 0;
  std::thread follower_;
};

EtcdRegistry::~EtcdRegistry() {
  EtcdRegistry::stop();
  if (follower_.joinable()) follower_.join();
}

void EtcdRegistry::stop() {
  stopped_ = true;
  const std::lock_guard lock(feed_mutex_);
  if (feed_) feed_->stop();
}

// ---- reading ----

Result<Info> EtcdRegistry::info_of(const json& pair) const {
  const auto place = keys_.place(bytes_of(pair, "key"));
  if (!place)
    return Error(ErrorCode::kCorrupt, "etcd holds a key under " + keys_.prefix() + " that is not ours");
  MVM_ASSIGN(auto info, decode_head(bytes_of(pair, "value")));
  info.name = place->name;
  info.index = place->index;
  info.revision = number_of(pair, "mod_revision");
  return info;
}

Result<std::uint64_t> EtcdRegistry::revision() {
  Txn txn;
  txn.read(keys_.request("-"), {}, 1);
  MVM_ASSIGN(const auto answer, client_.ask("/v3/kv/txn", txn.json(), Repeat::kFreely));
  return revision_of(answer);
}

Result<Instance> EtcdRegistry::read(std::string_view name, std::uint64_t index, std::uint32_t flags) {
  MVM_TRY(check_name(name));
  const bool first = (flags & kFirstAvailable) != 0;
  Txn txn;
  txn.read(keys_.head(name, index), first ? keys_.heads_end(name) : std::string(), 1);
  txn.read(keys_.item(name, index), first ? keys_.items_end(name) : std::string(), 1);
  MVM_ASSIGN(const auto answer, client_.ask("/v3/kv/txn", txn.json(), Repeat::kFreely));
  const auto& heads = pairs_of(answer, 0);
  const auto& items = pairs_of(answer, 1);
  if (heads.empty() || items.empty())
    return Error(ErrorCode::kNotFound,
                 std::string(name) + "[" + std::to_string(index) + "]: no such instance");
  Instance instance;
  MVM_ASSIGN(instance.info, info_of(heads[0]));
  instance.item = make_item(bytes_of(items[0], "value"));
  return instance;
}

Result<Listing> EtcdRegistry::list(std::string_view pattern, const std::optional<Position>& after,
                                   std::size_t limit) {
  MVM_TRY(check_pattern(pattern));
  const std::string beginning = keys_.heads(literal_prefix(pattern));
  const std::string end = after_prefix(beginning);
  std::string from = beginning;
  if (after) from = std::max(from, keys_.head(after->name, after->index) + '\0');
  Listing listing;
  if (from >= end) {
    MVM_ASSIGN(listing.revision, revision());
    return listing;
  }
  while (true) {
    Txn txn;
    txn.read(from, end, kPage);
    json request = txn.json();
    if (listing.revision != 0)
      request["success"][0]["request_range"]["revision"] = std::to_string(listing.revision);
    MVM_ASSIGN(const auto answer, client_.ask("/v3/kv/txn", request, Repeat::kFreely));
    if (listing.revision == 0) listing.revision = revision_of(answer);
    const auto& pairs = pairs_of(answer, 0);
    for (const auto& pair : pairs) {
      MVM_ASSIGN(auto info, info_of(pair));
      if (!match(pattern, info.name)) continue;
      if (listing.infos.size() >= limit) {
        listing.more = true;
        return listing;
      }
      listing.infos.push_back(std::move(info));
    }
    if (pairs.size() < kPage) return listing;
    from = bytes_of(pairs.back(), "key") + '\0';
  }
}

// ---- updates ----

Result<View> EtcdRegistry::look(const Update& update) {
  std::set<std::string> names;
  std::set<std::uint64_t> leases;
  for (const auto& operation : update.operations) {
    if (!operation.name.empty()) names.insert(operation.name);
    if (operation.lease != 0) leases.insert(operation.lease);
  }
  Txn txn;
  txn.read(keys_.request(update.request.empty() ? "-" : update.request));
  for (const auto& name : names) txn.read(keys_.head(name, 0), keys_.heads_end(name));
  for (const auto lease : leases) txn.read(keys_.lease(lease));
  MVM_ASSIGN(const auto answer, client_.ask("/v3/kv/txn", txn.json(), Repeat::kFreely));
  View view;
  view.revision = revision_of(answer);
  std::size_t n = 0;
  const auto& answered = pairs_of(answer, n++);
  if (!update.request.empty() && !answered.empty()) {
    MVM_ASSIGN(view.answered, decode_applied(bytes_of(answered[0], "value")));
    view.answered->revision = number_of(answered[0], "mod_revision");
    return view;
  }
  for (std::size_t i = 0; i < names.size(); ++i)
    for (const auto& pair : pairs_of(answer, n++)) {
      MVM_ASSIGN(auto info, info_of(pair));
      view.infos.push_back(std::move(info));
    }
  for (const auto lease : leases) {
    const auto& found = pairs_of(answer, n++);
    if (!found.empty()) view.leases[lease] = LeaseInfo{.owner = bytes_of(found[0], "value"), .ttl = kMinTtl};
  }
  return view;
}

Result<std::uint64_t> EtcdRegistry::new_lease(milliseconds ttl) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(ttl).count();
  MVM_ASSIGN(
      const auto answer,
      client_.ask("/v3/lease/grant", {{"TTL", std::to_string(seconds)}, {"ID", "0"}}, Repeat::kFreely));
  const std::uint64_t lease = number_of(answer, "ID");
  if (lease == 0) return Error(ErrorCode::kCorrupt, "etcd granted a lease without an id");
  return lease;
}

Result<std::uint64_t> EtcdRegistry::request_lease() {
  const std::lock_guard lock(lease_mutex_);
  if (request_lease_ == 0 || SteadyClock::now() >= request_lease_until_) {
    MVM_ASSIGN(request_lease_, new_lease(kRequestTtl + kRequestLeaseUse));
    request_lease_until_ = SteadyClock::now() + kRequestLeaseUse;
  }
  return request_lease_;
}

/// The items of what is taken. That they are still the same is compared when it is committed.
Status EtcdRegistry::read_taken(Effect& effect, const Update& update) {
  for (std::size_t i = 0; i < update.operations.size(); ++i) {
    auto& taken = effect.answer.outcomes[i].taken;
    if (!taken) continue;
    auto instance = read(taken->info.name, taken->info.index, 0);
    if (!instance && instance.error().code() != ErrorCode::kNotFound) return std::move(instance).error();
    taken->item = instance ? instance->item : make_item(std::string(taken->info.size, '\0'));
    // Something else is there already: so that committing does not succeed.
    if (!instance || instance->info.revision != taken->info.revision) taken->item = nullptr;
  }
  return ok();
}

/// The revision; nothing where something has changed since it was looked at.
Result<std::optional<std::uint64_t>> EtcdRegistry::commit(const Update& update, const View& view,
                                                          const Effect& effect) {
  std::map<std::pair<std::string, std::uint64_t>, std::uint64_t> revisions;
  for (const auto& info : view.infos) revisions[{info.name, info.index}] = info.revision;
  Txn txn;
  std::set<std::string> names;
  std::set<std::uint64_t> leases;
  for (const auto& operation : update.operations) {
    names.insert(operation.name);
    // A check must hold when the others happen.
    if (operation.kind == Kind::kCheck) {
      const auto found = revisions.find({operation.name, operation.index});
      txn.written_at(keys_.head(operation.name, operation.index),
                     found == revisions.end() ? 0 : found->second);
    }
  }
  for (const auto& name : names)
    txn.unchanged_since(keys_.head(name, 0), keys_.heads_end(name), view.revision);
  for (const auto& event : effect.events) {
    const std::string head = keys_.head(event.info.name, event.info.index);
    const std::string item = keys_.item(event.info.name, event.info.index);
    const auto found = revisions.find({event.info.name, event.info.index});
    txn.written_at(head, found == revisions.end() ? 0 : found->second);
    if (event.deleted) {
      txn.erase(head);
      txn.erase(item);
      continue;
    }
    txn.put(head, encode_head(event.info), event.info.lease);
    txn.put(item, *event.item, event.info.lease);
    if (event.info.lease != 0 && leases.insert(event.info.lease).second)
      txn.exists(keys_.lease(event.info.lease));
  }
  if (!update.request.empty()) {
    MVM_ASSIGN(const auto lease, request_lease());
    txn.written_at(keys_.request(update.request), 0);
    txn.put(keys_.request(update.request), encode(effect.answer), lease);
  }
  MVM_ASSIGN(const auto answer, client_.ask("/v3/kv/txn", txn.json(), Repeat::kNever));
  if (!flag_or(answer, "succeeded")) return std::optional<std::uint64_t>();
  return std::optional(revision_of(answer));
}

Result<Applied> EtcdRegistry::apply(const Update& update) {
  const auto ends = SteadyClock::now() + client_.options().timeout;
  std::minstd_rand random(static_cast<unsigned>(SteadyClock::now().time_since_epoch().count()));
  for (int tries = 0;; ++tries) {
    MVM_ASSIGN(auto view, look(update));
    if (view.answered) return std::move(*view.answered);
    Table table = Table::part(view.revision, view.infos, view.leases);
    MVM_ASSIGN(auto effect, table.apply(Update{.request = {}, .operations = update.operations}));
    if (effect.events.empty() && update.request.empty()) {
      effect.answer.revision = view.revision;
      return std::move(effect.answer);
    }
    MVM_TRY(read_taken(effect, update));
    const auto& outcomes = effect.answer.outcomes;
    const bool stale = std::any_of(outcomes.begin(), outcomes.end(), [](const Outcome& outcome) {
      return outcome.taken && !outcome.taken->item;
    });
    if (!stale) {
      auto committed = commit(update, view, effect);
      if (!committed && !(committed.error().code() == ErrorCode::kTimeout && !update.request.empty()))
        return std::move(committed).error();
      if (committed && *committed) {
        effect.answer.revision = **committed;
        return std::move(effect.answer);
      }
    }
    if (SteadyClock::now() >= ends)
      return Error(ErrorCode::kTimeout, "etcd: others changed the same names " + std::to_string(tries + 1) +
                                            " times before this update could be made");
    if (tries > 0) std::this_thread::sleep_for(milliseconds(random() % (2U << std::min(tries, 5))));
  }
}

Result<Applied> EtcdRegistry::grant(const Update& update) {
  const Operation& operation = update.operations.front();
  MVM_ASSIGN(auto view, look(update));
  if (view.answered) return std::move(*view.answered);
  MVM_ASSIGN(const auto lease, new_lease(operation.ttl));
  Applied applied;
  applied.outcomes.push_back(Outcome{.index = 0, .lease = lease, .taken = {}});
  Txn txn;
  txn.put(keys_.lease(lease), operation.owner, lease);
  if (!update.request.empty()) {
    MVM_ASSIGN(const auto remembered, request_lease());
    txn.written_at(keys_.request(update.request), 0);
    txn.put(keys_.request(update.request), encode(applied), remembered);
  }
  // Nobody else knows the lease: written twice, it is the same.
  MVM_ASSIGN(const auto answer, client_.ask("/v3/kv/txn", txn.json(), Repeat::kFreely));
  if (!flag_or(answer, "succeeded")) {
    MVM_ASSIGN(view, look(update));
    if (view.answered) return std::move(*view.answered);
    return Error(ErrorCode::kTimeout, "etcd: the request was answered and is forgotten already");
  }
  applied.revision = revision_of(answer);
  return applied;
}

// etcd ends a lease and deletes all that hangs on it in one revision.
Result<Applied> EtcdRegistry::revoke(const Operation& operation) {
  MVM_ASSIGN(const auto view, look(Update{.request = {}, .operations = {operation}}));
  Applied applied{.revision = view.revision, .outcomes = {Outcome{}}};
  const auto found = view.leases.find(operation.lease);
  if (found == view.leases.end()) return applied;
  if (!operation.owner.empty() && found->second.owner != operation.owner)
    return Error(ErrorCode::kRefused, "the lease is " + found->second.owner + "'s");
  auto answer = client_.ask("/v3/lease/revoke", {{"ID", std::to_string(operation.lease)}}, Repeat::kFreely);
  if (!answer && answer.error().code() != ErrorCode::kNotFound) return std::move(answer).error();
  MVM_ASSIGN(applied.revision, revision());
  return applied;
}

Result<Applied> EtcdRegistry::update(const Update& update) {
  MVM_TRY(check_update(update));
  const Operation& first = update.operations.front();
  if (first.kind == Kind::kGrant) return grant(update);
  if (first.kind == Kind::kRevoke && update.operations.size() == 1) return revoke(first);
  for (const auto& operation : update.operations)
    if (operation.kind == Kind::kRevoke)
      return Error(ErrorCode::kInvalid, "etcd ends leases itself, each by an update of its own");
  return apply(update);
}

Status EtcdRegistry::keep_alive(std::uint64_t lease) {
  MVM_ASSIGN(const auto answer,
             client_.ask("/v3/lease/keepalive", {{"ID", std::to_string(lease)}}, Repeat::kFreely));
  if (number_of(object_or_empty(answer, "result"), "TTL") != 0) return ok();
  return Error(ErrorCode::kNotFound, "lease " + std::to_string(lease) + " has ended");
}

// ---- watching ----

json EtcdRegistry::watch_request(std::uint64_t after) const {
  Txn range;
  range.read(keys_.prefix(), after_prefix(keys_.prefix()));
  json create = range.json()["success"][0]["request_range"];
  create.erase("limit");
  create["start_revision"] = std::to_string(after + 1);
  create["fragment"] = true;
  return {{"create_request", std::move(create)}};
}

Status EtcdRegistry::start_following() {
  const std::lock_guard lock(feed_mutex_);
  if (feed_ || stopped_) return ok();
  MVM_ASSIGN(feed_begin_, revision());
  feed_ = std::make_unique<Feed>(feed_begin_, true);
  follower_ = std::thread([this] { follow(); });
  return ok();
}

/// Feeds all changes to the watches, over whichever member answers.
void EtcdRegistry::follow() {
  while (!stopped_) {
    Changes changes(keys_);
    const auto take = [&](const json& line) {
      const auto& result = object_or_empty(line, "result");
      if (const auto compacted = number_of(result, "compact_revision"); compacted != 0) {
        // What came before is gone: those who have not seen it are told so.
        feed_->restart(compacted - 1);
        return false;
      }
      if (line.contains("error") || flag_or(result, "canceled")) return false;
      for (const auto& done : changes.take(result)) feed_->add(done.revision, done.events);
      return true;
    };
    const auto ends = SteadyClock::now() + kFollowOne;
    const auto followed = client_.follow("/v3/watch", watch_request(feed_->last()), ends, stopped_, take);
    if (!followed) std::this_thread::sleep_for(milliseconds(50));
  }
}

Result<Events> EtcdRegistry::watch(std::uint64_t after, std::string_view pattern, milliseconds wait,
                                   std::size_t limit) {
  MVM_TRY(check_pattern(pattern));
  if (stopped_) return Error(ErrorCode::kCancelled, "the registry is being stopped");
  MVM_TRY(start_following());
  if (!feed_) return Error(ErrorCode::kCancelled, "the registry is being stopped");
  if (after < feed_begin_) return catch_up(after, pattern, wait, limit);
  if (after > feed_->last()) {
    MVM_ASSIGN(const auto now, revision());
    if (after > now)
      return Error(ErrorCode::kNotFound, "revision " + std::to_string(after) +
                                             " is of another registry: this one is at " +
                                             std::to_string(now) + "; list again");
  }
  return feed_->watch(after, pattern, wait, limit);
}

/// What happened before this client began to follow, from etcd's own history.
Result<Events> EtcdRegistry::catch_up(std::uint64_t after, std::string_view pattern, milliseconds wait,
                                      std::size_t limit) {
  History history(after);
  Changes changes(keys_);
  Result<Events> found = Events{.events = {}, .cursor = after};
  const auto take = [&](const json& line) {
    const auto& result = object_or_empty(line, "result");
    if (number_of(result, "compact_revision") != 0) {
      found = Error(ErrorCode::kNotFound,
                    "the changes after revision " + std::to_string(after) + " are not kept: list again");
      return false;
    }
    for (const auto& done : changes.take(result)) history.add(done.revision, done.events);
    found = history.after(after, pattern, std::clamp<std::size_t>(limit, 1, kMaxEvents));
    return found.has_value() && found->events.empty();
  };
  const auto ends = SteadyClock::now() + std::clamp(wait, milliseconds(0), kMaxPoll);
  MVM_TRY(client_.follow("/v3/watch", watch_request(after), ends, stopped_, take));
  if (stopped_) return Error(ErrorCode::kCancelled, "the registry is being stopped");
  return found;
}

}  // namespace

Result<std::unique_ptr<Registry>> open_etcd_registry(EtcdOptions options) {
  if (options.endpoints.empty()) return Error(ErrorCode::kInvalid, "etcd: no endpoints are given");
  for (auto& endpoint : options.endpoints) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    if (!endpoint.starts_with("http://") && !endpoint.starts_with("https://"))
      return Error(ErrorCode::kInvalid,
                   "etcd: found endpoint " + endpoint + ", expected http://HOST:PORT or https://");
  }
  if (options.prefix.empty() || options.prefix.size() > 200)
    return Error(ErrorCode::kInvalid, "etcd: a prefix has 1 to 200 bytes");
  if (options.timeout.count() <= 0)
    return Error(ErrorCode::kInvalid, "etcd: the time-out is more than nothing");
  return std::unique_ptr<Registry>(std::make_unique<EtcdRegistry>(std::move(options)));
}

}  // namespace mvm::registry
