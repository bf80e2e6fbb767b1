#include "operations.h"

#include <algorithm>
#include <array>
#include <future>

#include "fields.h"
#include "mvm/base/json.h"
#include "mvm/registry/packing.h"

namespace mvm::plugins::registry {
namespace {

using mvm::registry::Operation;
using mvm::registry::Update;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::uint32_t kPutFlags = mvm::registry::kAnyone | mvm::registry::kMultiple |
                                    mvm::registry::kPersistent | mvm::registry::kOverwrite;
constexpr std::uint32_t kRecvFlags =
    mvm::registry::kFirstAvailable | mvm::registry::kReadAndDelete | mvm::registry::kWait;
// Each holds a thread of the kernel's pool, of which there may be no more than four.
constexpr int kMaxWaiting = 2;
constexpr std::size_t kMaxOwnerPart = 100;
constexpr std::uint64_t kMaxLimit = 1000;
constexpr std::array kRoleNames{"voter", "stand-by", "outside"};  // as replica::Role
constexpr std::size_t kMaxSettings = 32;
constexpr std::size_t kLongestSecret = 4096;
constexpr std::size_t kMaxContacts = 16;

/// One of the few who may wait at a time.
class Waiter {
 public:
  explicit Waiter(std::atomic<int>& waiting) : waiting_(waiting), admitted_(++waiting <= kMaxWaiting) {}
  ~Waiter() { --waiting_; }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  [[nodiscard]] Status admitted() const {
    if (admitted_) return ok();
    return Error(ErrorCode::kExhausted, "busy: " + std::to_string(kMaxWaiting) +
                                            " others wait for the registry of this node; try again");
  }

 private:
  std::atomic<int>& waiting_;
  bool admitted_;
};

milliseconds wait_of(const json& args) {
  const auto most = static_cast<std::uint64_t>(mvm::registry::kMaxPoll.count());
  return milliseconds(std::min(number_or(args, "wait_ms"), most));
}

std::size_t limit_of(const json& args) {
  return static_cast<std::size_t>(
      std::clamp<std::uint64_t>(number_or(args, "limit", kMaxLimit), 1, kMaxLimit));
}

/// An item that is one text or one row of bytes as what it holds; any other as it is.
kernel::Answer plain(const mvm::registry::Instance& found) {
  kernel::Answer answer{{{"info", to_json(found.info)}, {"encoding", "item"}}, *found.item, {}};
  mvm::registry::PackReader texts(*found.item);
  mvm::registry::PackReader bytes(*found.item);
  if (std::string value = texts.text(mvm::registry::kMaxItem); texts.end("text")) {
    answer.result["encoding"] = "text";
    answer.blob = std::move(value);
  } else if (value = bytes.bytes(mvm::registry::kMaxItem); bytes.end("bytes")) {
    answer.result["encoding"] = "bytes";
    answer.blob = std::move(value);
  }
  return answer;
}

}  // namespace

Status Operations::offer() {
  const auto add = [this](const char* op, Result<Answer> (Operations::*method)(Call&)) {
    return kernel_.handle(op, [this, method](Call& call) { return (this->*method)(call); });
  };
  MVM_TRY(add("registry.put", &Operations::put));
  MVM_TRY(add("registry.recv", &Operations::recv));
  MVM_TRY(add("registry.del", &Operations::del));
  MVM_TRY(add("registry.list", &Operations::list));
  MVM_TRY(add("registry.watch", &Operations::watch));
  MVM_TRY(add("registry.grant", &Operations::grant));
  MVM_TRY(add("registry.keep", &Operations::keep));
  MVM_TRY(add("registry.revoke", &Operations::revoke));
  MVM_TRY(add("registry.members", &Operations::members));
  MVM_TRY(add("registry.confirm-death", &Operations::confirm_death));
  MVM_TRY(add("registry.confirm-lost", &Operations::confirm_lost));
  MVM_TRY(add("registry.leave", &Operations::leave));
  MVM_TRY(add("registry.configure", &Operations::configure));
  MVM_TRY(add("registry.invite", &Operations::invite));
  MVM_TRY(add("registry.forget", &Operations::forget));
  return add("registry.getvminfo", &Operations::get_vm_info);
}

/// Those outside are the host's users, by the names that the host vouches for; plug-ins are themselves, and
/// may stand for several. So nobody can take another's name.
Result<std::string> Operations::owner_of(const Call& call) const {
  std::string part = text_or(call.args, "owner");
  if (part.size() > kMaxOwnerPart)
    return Error(ErrorCode::kInvalid, "owner: longer than " + std::to_string(kMaxOwnerPart) + " bytes");
  if (call.caller == "outside") return "user/" + (part.empty() ? "outside" : part);
  const auto& node = kernel_.config();
  return node.lab + "/" + node.node + "/" + call.caller + (part.empty() ? "" : "/" + part);
}

Result<kernel::Answer> Operations::put(Call& call) {
  Operation operation{.kind = Operation::Kind::kPut};
  MVM_ASSIGN(operation.name, need_text(call.args, "name", mvm::registry::kMaxName));
  MVM_ASSIGN(operation.flags, flags_of(call.args, kPutFlags));
  MVM_ASSIGN(operation.owner, owner_of(call));
  operation.index = number_or(call.args, "index");
  operation.lease = number_or(call.args, "lease");
  if (call.args.contains("expect")) {
    MVM_ASSIGN(operation.expect, need_number(call.args, "expect"));
  }
  const std::size_t size = call.blob.size();
  // Text and bytes become an item here, so that whoever asks need not know the encoding.
  const std::string encoding = text_or(call.args, "encoding", "item");
  if (encoding == "bytes" && size < mvm::registry::kMaxItem)
    operation.item = mvm::registry::make_item(mvm::registry::PackWriter().bytes(call.blob).take());
  else if (encoding == "text" && size < mvm::registry::kMaxItem)
    operation.item = mvm::registry::make_item(mvm::registry::PackWriter().text(call.blob).take());
  else if (encoding == "item" || size >= mvm::registry::kMaxItem)
    operation.item = mvm::registry::make_item(std::move(call.blob));
  else
    return Error(ErrorCode::kInvalid, "encoding: found \"" + encoding + "\", expected item, bytes or text");
  const bool session = operation.lease == 0 && (operation.flags & mvm::registry::kPersistent) == 0;
  const std::string owner = operation.owner;
  if (session) {
    MVM_ASSIGN(operation.lease, registry_.lease_of(owner));
  }
  const std::uint64_t lease = operation.lease;
  auto applied = registry_.update(
      Update{.request = text_or(call.args, "request"), .operations = {std::move(operation)}});
  if (session && !applied && applied.error().code() == ErrorCode::kNotFound)
    registry_.forget_lease(owner, lease);
  if (!applied) return std::move(applied).error();
  return Answer{{{"index", applied->outcomes.front().index}, {"revision", applied->revision}}, {}, {}};
}

Result<kernel::Answer> Operations::recv(Call& call) {
  MVM_ASSIGN(const std::string name, need_text(call.args, "name", mvm::registry::kMaxName));
  MVM_ASSIGN(const std::uint32_t flags, flags_of(call.args, kRecvFlags));
  MVM_ASSIGN(std::string owner, owner_of(call));
  mvm::registry::Session session(registry_, std::move(owner));
  std::optional<Waiter> waiter;
  if ((flags & mvm::registry::kWait) != 0) MVM_TRY(waiter.emplace(waiting_).admitted());
  MVM_ASSIGN(auto found, session.recvinfo(name, number_or(call.args, "index"), flags, wait_of(call.args)));
  if (flag_or(call.args, "plain")) return plain(found);
  return Answer{{{"info", to_json(found.info)}}, *found.item, {}};
}

Result<kernel::Answer> Operations::del(Call& call) {
  Operation operation{.kind = Operation::Kind::kDelete};
  MVM_ASSIGN(operation.name, need_text(call.args, "name", mvm::registry::kMaxName));
  MVM_ASSIGN(operation.flags, flags_of(call.args, mvm::registry::kFirstAvailable));
  MVM_ASSIGN(operation.owner, owner_of(call));
  operation.index = number_or(call.args, "index");
  if (call.args.contains("expect")) {
    MVM_ASSIGN(operation.expect, need_number(call.args, "expect"));
  }
  MVM_ASSIGN(const auto applied, registry_.update(Update{.request = text_or(call.args, "request"),
                                                         .operations = {std::move(operation)}}));
  return Answer{{{"index", applied.outcomes.front().index}, {"revision", applied.revision}}, {}, {}};
}

Result<kernel::Answer> Operations::list(Call& call) {
  const std::string pattern = text_or(call.args, "pattern", "*");
  std::optional<mvm::registry::Position> after;
  if (call.args.contains("after")) {
    const auto& from = object_or_empty(call.args, "after");
    after = mvm::registry::Position{.name = text_or(from, "name"), .index = number_or(from, "index")};
  }
  MVM_ASSIGN(const auto listing, registry_.list(pattern, after, limit_of(call.args)));
  return Answer{to_json(listing), {}, {}};
}

Result<kernel::Answer> Operations::watch(Call& call) {
  const milliseconds wait = wait_of(call.args);
  std::optional<Waiter> waiter;
  if (wait.count() != 0) MVM_TRY(waiter.emplace(waiting_).admitted());
  MVM_ASSIGN(const auto events,
             registry_.watch(number_or(call.args, "after"), text_or(call.args, "pattern", "*"), wait,
                             limit_of(call.args)));
  return Answer{to_json(events, flag_or(call.args, "items")), {}, {}};
}

Result<kernel::Answer> Operations::grant(Call& call) {
  MVM_ASSIGN(std::string owner, owner_of(call));
  MVM_ASSIGN(const auto ttl,
             need_number(call.args, "ttl_ms", static_cast<std::uint64_t>(mvm::registry::kMaxTtl.count())));
  MVM_ASSIGN(const auto lease, mvm::registry::grant(registry_, std::move(owner), milliseconds(ttl)));
  return Answer{{{"lease", lease}}, {}, {}};
}

Result<kernel::Answer> Operations::keep(Call& call) {
  MVM_ASSIGN(const auto lease, need_number(call.args, "lease"));
  MVM_TRY(registry_.keep_alive(lease));
  return Answer{};
}

Result<kernel::Answer> Operations::revoke(Call& call) {
  MVM_ASSIGN(std::string owner, owner_of(call));
  MVM_ASSIGN(const auto lease, need_number(call.args, "lease"));
  MVM_TRY(mvm::registry::revoke(registry_, std::move(owner), lease));
  return Answer{};
}

/// What the kernel knows of itself, or the entry of that name. [Harness 001, §3.1: getvminfo]
Result<kernel::Answer> Operations::get_vm_info(Call& call) {
  MVM_ASSIGN(const std::string key, need_text(call.args, "key", mvm::registry::kMaxName));
  if (key == "components") return kernel_.call({"kernel.plugins", json::object(), {}, {}, {}});
  if (key == "node") return kernel_.call({"node.info", json::object(), {}, {}, {}});
  MVM_ASSIGN(auto found, registry_.read(key, 0, mvm::registry::kFirstAvailable));
  return Answer{{{"info", to_json(found.info)}}, *found.item, {}};
}

// ---- of a replicated registry ----

namespace {

using ServingPtr = std::shared_ptr<Current::Serving>;

Result<ServingPtr> replicated(const Current& registry) {
  MVM_ASSIGN(ServingPtr now, registry.serving());
  if (now->provider.raft != nullptr) return now;
  return Error(ErrorCode::kConflict,
               "this registry is not replicated among kernels: its provider is " + now->provider.name);
}

Status known(const replica::Replica& replica, std::uint64_t id) {
  if (id == replica.self().id) return Error(ErrorCode::kInvalid, "id: found this member's own number");
  for (const auto& one : replica.members())
    if (one.member.id == id) return ok();
  return Error(ErrorCode::kNotFound,
               "the registry has no member " + std::to_string(id) + "; see registry.members");
}

}  // namespace

Result<kernel::Answer> Operations::members(Call& /*call*/) {
  const auto now = registry_.serving();
  json told{{"configured", registry_.configured()}, {"members", json::array()}};
  if (!now) {
    told["trouble"] = registry_.trouble();
    return Answer{std::move(told), {}, {}};
  }
  told["provider"] = (*now)->provider.name;
  if ((*now)->provider.raft == nullptr) return Answer{std::move(told), {}, {}};
  const replica::Replica& replica = (*now)->provider.raft->replica();
  for (const auto& one : replica.members())
    told["members"].push_back({{"id", one.member.id},
                               {"address", one.member.address},
                               {"life", one.life},
                               {"role", kRoleNames[static_cast<std::size_t>(one.role)]},
                               {"dead", one.dead},
                               {"connected", one.connected}});
  const replica::Info info = replica.info();
  told["self"] = replica.self().id;
  told["leader"] = info.leader.id;
  told["active"] = info.active;
  told["term"] = info.term;
  told["epoch"] = info.epoch;
  return Answer{std::move(told), {}, {}};
}

/// It is said for ever, so the life is named: a member that was opened again since is not meant.
Result<kernel::Answer> Operations::confirm_death(Call& call) {
  replica::Life life;
  MVM_ASSIGN(life.id, need_number(call.args, "id"));
  MVM_ASSIGN(life.life, need_number(call.args, "life"));
  MVM_ASSIGN(const ServingPtr now, replicated(registry_));
  MVM_TRY(known(now->provider.raft->replica(), life.id));
  now->provider.raft->replica().confirm_death(life);
  return Answer{};
}

Result<kernel::Answer> Operations::confirm_lost(Call& call) {
  MVM_ASSIGN(const std::uint64_t id, need_number(call.args, "id"));
  MVM_ASSIGN(const ServingPtr now, replicated(registry_));
  MVM_TRY(known(now->provider.raft->replica(), id));
  now->provider.raft->replica().confirm_lost(id);
  return Answer{};
}

/// The folder is of no use after it.
Result<kernel::Answer> Operations::leave(Call& /*call*/) {
  MVM_ASSIGN(const ServingPtr now, replicated(registry_));
  MVM_TRY(take_leave(now->provider.raft->replica()));
  return Answer{};
}

// ---- as the host wants it ----

Result<kernel::Answer> Operations::configure(Call& call) {
  MVM_TRY(kernel::only_host(call));
  MVM_ASSIGN(const auto settings, text_map_of(call.args, "settings", kMaxSettings));
  const std::string secret = text_or(call.args, "secret");
  if (secret.size() > kLongestSecret)
    return Error(ErrorCode::kInvalid, "secret: expected at most 4096 bytes");
  MVM_TRY(registry_.configure({settings.begin(), settings.end()}, secret));
  return members(call);
}

/// What another kernel must be told to be taken in.
Result<kernel::Answer> Operations::invite(Call& call) {
  MVM_TRY(kernel::only_host(call));
  MVM_ASSIGN(const ServingPtr now, replicated(registry_));
  MVM_ASSIGN(std::string secret, registry_.group_secret());
  const replica::Replica& replica = now->provider.raft->replica();
  const replica::Member self = replica.self();
  // This one first: it is there.
  std::string contacts = std::to_string(self.id) + "=" + self.address;
  std::size_t count = 1;
  for (const auto& one : replica.members())
    if (one.member.id != self.id && !one.dead && one.connected && count++ < kMaxContacts)
      contacts += "," + std::to_string(one.member.id) + "=" + one.member.address;
  return Answer{{{"secret", std::move(secret)}, {"join", std::move(contacts)}}, {}, {}};
}

Result<kernel::Answer> Operations::forget(Call& call) {
  MVM_TRY(kernel::only_host(call));
  MVM_ASSIGN(const bool changed, registry_.forget(flag_or(call.args, "force")));
  return Answer{{{"changed", changed}}, {}, {}};
}

}  // namespace mvm::plugins::registry
