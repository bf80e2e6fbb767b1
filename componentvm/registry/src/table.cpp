#include "mvm/registry/table.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "records.h"

namespace mvm::registry {
namespace {

constexpr std::size_t kMaxRemembered = 1024;
constexpr std::size_t kMaxRememberedBytes = 4U << 20U;
constexpr std::uint64_t kFormat = 1;

std::size_t weight(const Instance& instance) {
  return instance.info.name.size() + instance.info.owner.size() + instance.info.size;
}

}  // namespace

struct Table::Work {
  Effect effect;
  struct Before {
    std::string name;
    std::uint64_t index = 0;
    std::optional<Instance> instance;
  };
  std::vector<Before> instances;  // to be put back from the last to the first
  std::vector<std::pair<std::uint64_t, std::optional<LeaseInfo>>> leases;  // as above
  std::uint64_t next_lease = 0;
};

// ---- looking ----

Box Table::look(const Operation& operation) const {
  Box box;
  const auto found = names_.find(operation.name);
  if (found == names_.end()) return box;
  const auto& instances = found->second;
  box.count = instances.size();
  box.highest = instances.rbegin()->first;
  box.multiple = (instances.begin()->second.info.flags & kMultiple) != 0;
  const auto target = (operation.flags & kFirstAvailable) != 0 ? instances.lower_bound(operation.index)
                                                               : instances.find(operation.index);
  if (target != instances.end()) box.target = target->second.info;
  return box;
}

Result<Instance> Table::read(std::string_view name, std::uint64_t index, std::uint32_t flags) const {
  MVM_TRY(check_name(name));
  const auto found = names_.find(name);
  if (found != names_.end()) {
    const auto& instances = found->second;
    const auto target = (flags & kFirstAvailable) != 0 ? instances.lower_bound(index) : instances.find(index);
    if (target != instances.end()) return target->second;
  }
  return Error(ErrorCode::kNotFound, std::string(name) + "[" + std::to_string(index) + "]: no such instance");
}

Result<Listing> Table::list(std::string_view pattern, const std::optional<Position>& after,
                            std::size_t limit) const {
  MVM_TRY(check_pattern(pattern));
  Listing listing{.infos = {}, .revision = revision_, .more = false};
  const std::string prefix = literal_prefix(pattern);
  auto name = names_.lower_bound(after ? std::max(after->name, prefix) : prefix);
  for (; name != names_.end() && name->first.starts_with(prefix); ++name) {
    if (!match(pattern, name->first)) continue;
    const auto& instances = name->second;
    auto instance =
        after && after->name == name->first ? instances.upper_bound(after->index) : instances.begin();
    for (; instance != instances.end(); ++instance) {
      if (listing.infos.size() >= limit) {
        listing.more = true;
        return listing;
      }
      listing.infos.push_back(instance->second.info);
    }
  }
  return listing;
}

// ---- changing ----

Result<Effect> Table::answer_again(const Remembered& remembered) const {
  MVM_ASSIGN(auto answer, decode_applied(remembered.answer));
  Effect effect;
  effect.answer = std::move(answer);
  effect.repeated = true;
  return effect;
}

Result<Effect> Table::apply(const Update& update) {
  MVM_TRY(check_update(update));
  if (const auto known = requests_.find(update.request); known != requests_.end())
    return answer_again(remembered_[known->second - forgotten_]);
  Work work;
  work.next_lease = next_lease_;
  for (const auto& operation : update.operations) {
    if (auto done = apply_one(work, operation); !done) {
      undo(work);
      return std::move(done).error();
    }
  }
  auto& effect = work.effect;
  const bool changed = !effect.events.empty() || !effect.granted.empty() || !effect.ended.empty();
  if (changed) ++revision_;
  effect.answer.revision = revision_;
  if (!update.request.empty()) remember(update.request, encode(effect.answer));
  return std::move(effect);
}

Status Table::apply_one(Work& work, const Operation& operation) {
  using Kind = Operation::Kind;
  Outcome outcome;
  if (operation.kind == Kind::kGrant) {
    MVM_TRY(grant(work, operation, outcome));
  } else if (operation.kind == Kind::kRevoke) {
    MVM_TRY(revoke(work, operation));
  } else {
    MVM_ASSIGN(auto made, step(look(operation), operation));
    outcome.index = made.index;
    const auto touched = [&](const Work::Before& before) {
      return before.index == made.index && before.name == operation.name;
    };
    if ((made.puts || made.removes) && std::any_of(work.instances.begin(), work.instances.end(), touched))
      return Error(ErrorCode::kInvalid, operation.name + "[" + std::to_string(made.index) +
                                            "]: an update changes an instance once");
    if (made.puts) MVM_TRY(put(work, operation, std::move(*made.puts), outcome));
    if (made.removes) {
      if (operation.kind == Kind::kTake) outcome.taken = names_.find(operation.name)->second.at(made.index);
      remove(work, operation.name, made.index);
    }
  }
  work.effect.answer.outcomes.push_back(std::move(outcome));
  return ok();
}

Status Table::put(Work& work, const Operation& operation, Info info, Outcome& outcome) {
  if (info.lease != 0) {
    const auto lease = leases_.find(info.lease);
    if (lease == leases_.end()) return Error(ErrorCode::kNotFound, "the lease has ended");
    if (lease->second.owner != info.owner)
      return Error(ErrorCode::kRefused,
                   "the lease is " + lease->second.owner + "'s, not " + info.owner + "'s");
  }
  info.revision = revision_ + 1;
  Instance instance{.info = std::move(info), .item = operation.item};
  std::optional<Instance> before;
  if (const auto name = names_.find(operation.name); name != names_.end())
    if (const auto found = name->second.find(outcome.index); found != name->second.end())
      before = found->second;
  const std::size_t freed = before ? weight(*before) : 0;
  if (bytes_ - freed + weight(instance) > kMaxBytes)
    return Error(ErrorCode::kExhausted,
                 "the registry is full: it holds " + std::to_string(bytes_) + " bytes");
  if (!before && items_ >= kMaxItems)
    return Error(ErrorCode::kExhausted,
                 "the registry is full: it holds " + std::to_string(items_) + " items");
  if (before) remove(operation.name, outcome.index);
  work.instances.push_back({.name = operation.name, .index = outcome.index, .instance = std::move(before)});
  work.effect.events.push_back(
      {.revision = revision_ + 1, .deleted = false, .info = instance.info, .item = instance.item});
  store(std::move(instance));
  return ok();
}

Status Table::grant(Work& work, const Operation& operation, Outcome& outcome) {
  if (leases_.size() >= kMaxLeases)
    return Error(ErrorCode::kExhausted, "there are " + std::to_string(kMaxLeases) + " leases");
  outcome.lease = next_lease_++;
  leases_[outcome.lease] = LeaseInfo{.owner = operation.owner, .ttl = operation.ttl};
  work.leases.emplace_back(outcome.lease, std::nullopt);
  work.effect.granted.push_back(outcome.lease);
  return ok();
}

Status Table::revoke(Work& work, const Operation& operation) {
  const auto lease = leases_.find(operation.lease);
  if (lease == leases_.end()) return ok();
  if (!operation.owner.empty() && operation.owner != lease->second.owner)
    return Error(ErrorCode::kRefused, "the lease is " + lease->second.owner + "'s");
  if (const auto items = of_lease_.find(operation.lease); items != of_lease_.end()) {
    const auto copy = items->second;  // what is removed leaves the set
    for (const auto& [name, index] : copy) remove(work, name, index);
  }
  work.leases.emplace_back(operation.lease, lease->second);
  work.effect.ended.push_back(operation.lease);
  std::erase(work.effect.granted, operation.lease);
  leases_.erase(lease);
  return ok();
}

void Table::store(Instance instance) {
  bytes_ += weight(instance);
  ++items_;
  const std::uint64_t index = instance.info.index;
  if (instance.info.lease != 0) of_lease_[instance.info.lease].emplace(instance.info.name, index);
  auto& instances = names_[instance.info.name];
  instances.insert_or_assign(index, std::move(instance));
}

void Table::remove(const std::string& name, std::uint64_t index) {
  const auto found = names_.find(name);
  const auto instance = found->second.find(index);
  bytes_ -= weight(instance->second);
  --items_;
  if (const auto lease = of_lease_.find(instance->second.info.lease); lease != of_lease_.end()) {
    lease->second.erase({name, index});
    if (lease->second.empty()) of_lease_.erase(lease);
  }
  found->second.erase(instance);
  if (found->second.empty()) names_.erase(found);
}

void Table::remove(Work& work, const std::string& name, std::uint64_t index) {
  Instance before = names_.find(name)->second.at(index);
  remove(name, index);
  work.effect.events.push_back(
      {.revision = revision_ + 1, .deleted = true, .info = before.info, .item = nullptr});
  work.instances.push_back({.name = name, .index = index, .instance = std::move(before)});
}

void Table::undo(Work& work) {
  for (auto before = work.instances.rbegin(); before != work.instances.rend(); ++before) {
    const auto name = names_.find(before->name);
    if (name != names_.end() && name->second.contains(before->index)) remove(before->name, before->index);
    if (before->instance) store(std::move(*before->instance));
  }
  for (auto before = work.leases.rbegin(); before != work.leases.rend(); ++before) {
    if (before->second)
      leases_[before->first] = std::move(*before->second);
    else
      leases_.erase(before->first);
  }
  next_lease_ = work.next_lease;
}

void Table::remember(const std::string& request, std::string answer) {
  remembered_bytes_ += request.size() + answer.size();
  requests_[request] = forgotten_ + remembered_.size();
  remembered_.push_back({.request = request, .answer = std::move(answer)});
  while (remembered_.size() > kMaxRemembered || remembered_bytes_ > kMaxRememberedBytes) {
    const auto& oldest = remembered_.front();
    remembered_bytes_ -= oldest.request.size() + oldest.answer.size();
    requests_.erase(oldest.request);
    remembered_.pop_front();
    ++forgotten_;
  }
}

Table Table::part(std::uint64_t revision, std::vector<Info> infos,
                  std::map<std::uint64_t, LeaseInfo> leases) {
  Table table;
  table.revision_ = revision;
  table.leases_ = std::move(leases);
  for (auto& info : infos) table.store(Instance{.info = std::move(info), .item = nullptr});
  return table;
}

// ---- as bytes ----

std::string Table::snapshot() const {
  PackWriter out;
  out.number(kFormat).number(revision_).number(next_lease_).number(leases_.size());
  for (const auto& [id, lease] : leases_)
    out.number(id).bytes(lease.owner).number(static_cast<std::uint64_t>(lease.ttl.count()));
  out.number(items_);
  for (const auto& [name, instances] : names_)
    for (const auto& [index, instance] : instances) write(out, instance);
  out.number(remembered_.size());
  for (const auto& one : remembered_) out.bytes(one.request).bytes(one.answer);
  return out.take();
}

Result<Table> Table::restore(std::string_view snapshot) {
  PackReader in(snapshot);
  Table table;
  if (in.number() != kFormat) return Error(ErrorCode::kCorrupt, "a registry's snapshot: not of version 1");
  table.revision_ = in.number();
  table.next_lease_ = in.number();
  for (std::size_t left = in.count(kMaxLeases); left != 0 && in.good(); --left) {
    const std::uint64_t id = in.number();
    LeaseInfo lease;
    lease.owner = in.bytes(kMaxOwner);
    lease.ttl = std::chrono::milliseconds(in.number(static_cast<std::uint64_t>(kMaxTtl.count())));
    if (id == 0 || id >= table.next_lease_ || !table.leases_.emplace(id, std::move(lease)).second) in.fail();
  }
  for (std::size_t left = in.count(kMaxItems); left != 0 && in.good(); --left) {
    Instance instance = read_instance(in);
    const Info& info = instance.info;
    const auto name = table.names_.find(info.name);
    const bool twice = name != table.names_.end() && name->second.contains(info.index);
    const bool has_lease = info.lease != 0;
    if (!in.good() || twice || !check_name(info.name) || !check_item(*instance.item) ||
        info.revision > table.revision_ || has_lease == ((info.flags & kPersistent) != 0) ||
        (has_lease && !table.leases_.contains(info.lease)))
      in.fail();
    else
      table.store(std::move(instance));
    if (table.bytes_ > kMaxBytes) in.fail();
  }
  for (std::size_t left = in.count(kMaxRemembered); left != 0 && in.good(); --left) {
    std::string request = in.bytes(kMaxRequest);
    std::string answer = in.bytes(kMaxRememberedBytes);
    if (request.empty() || table.requests_.contains(request) || !decode_applied(answer)) in.fail();
    if (in.good()) table.remember(request, std::move(answer));
  }
  MVM_TRY(in.end("a registry's snapshot"));
  return table;
}

}  // namespace mvm::registry
