#include <algorithm>

#include "mvm/registry/registry.h"

namespace mvm::registry {

using Kind = Operation::Kind;

Result<std::uint64_t> grant(Registry& registry, std::string owner, std::chrono::milliseconds ttl) {
  Operation operation{.kind = Kind::kGrant, .owner = std::move(owner), .ttl = ttl};
  MVM_ASSIGN(const auto applied,
             registry.update(Update{.request = {}, .operations = {std::move(operation)}}));
  return applied.outcomes.front().lease;
}

Status revoke(Registry& registry, std::string owner, std::uint64_t lease) {
  Operation operation{.kind = Kind::kRevoke, .owner = std::move(owner), .lease = lease};
  MVM_TRY(registry.update(Update{.request = {}, .operations = {std::move(operation)}}));
  return ok();
}

Result<std::uint64_t> Session::putinfo(std::string name, Item item, std::uint32_t flags,
                                       std::uint64_t index) {
  Operation operation{.kind = Kind::kPut,
                      .name = std::move(name),
                      .index = index,
                      .flags = flags,
                      .owner = owner_,
                      .lease = (flags & kPersistent) != 0 ? 0 : lease_,
                      .item = std::move(item)};
  MVM_ASSIGN(const auto applied,
             registry_.update(Update{.request = {}, .operations = {std::move(operation)}}));
  return applied.outcomes.front().index;
}

Result<Instance> Session::recvinfo(std::string_view name, std::uint64_t index, std::uint32_t flags,
                                   std::chrono::milliseconds wait) {
  const auto once = [&]() -> Result<Instance> {
    if ((flags & kReadAndDelete) == 0) return registry_.read(name, index, flags & kFirstAvailable);
    Operation operation{.kind = Kind::kTake,
                        .name = std::string(name),
                        .index = index,
                        .flags = flags & kFirstAvailable,
                        .owner = owner_};
    MVM_ASSIGN(auto applied, registry_.update(Update{.request = {}, .operations = {std::move(operation)}}));
    return std::move(*applied.outcomes.front().taken);
  };
  if ((flags & kWait) == 0) return once();
  const std::string pattern = pattern_of(name);
  const auto ends = std::chrono::steady_clock::now() + wait;
  // Where it stands is asked before looking, so that no change between looking and waiting is missed.
  MVM_ASSIGN(const auto listing, registry_.list(pattern, {}, 1));
  std::uint64_t cursor = listing.revision;
  while (true) {
    auto found = once();
    if (found || found.error().code() != ErrorCode::kNotFound) return found;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(ends - std::chrono::steady_clock::now());
    if (left.count() <= 0)
      return Error(ErrorCode::kTimeout, std::string(name) + ": nothing was put there in time");
    auto events = registry_.watch(cursor, pattern, std::min(left, kMaxPoll));
    if (events) {
      cursor = events->cursor;
    } else if (events.error().code() == ErrorCode::kNotFound) {
      MVM_ASSIGN(const auto again, registry_.list(pattern, {}, 1));
      cursor = again.revision;
    } else {
      return std::move(events).error();
    }
  }
}

Status Session::delinfo(std::string name, std::uint64_t index, std::uint32_t flags) {
  Operation operation{.kind = Kind::kDelete,
                      .name = std::move(name),
                      .index = index,
                      .flags = flags & kFirstAvailable,
                      .owner = owner_};
  MVM_TRY(registry_.update(Update{.request = {}, .operations = {std::move(operation)}}));
  return ok();
}

Result<Listing> Session::getreginfo(std::string_view pattern) {
  Listing all;
  std::optional<Position> after;
  while (true) {
    MVM_ASSIGN(auto page, registry_.list(pattern, after));
    // A watch from the first page's revision sees again what later pages already show, and misses nothing.
    if (!after) all.revision = page.revision;
    std::move(page.infos.begin(), page.infos.end(), std::back_inserter(all.infos));
    if (!page.more || all.infos.empty()) return all;
    after = Position{.name = all.infos.back().name, .index = all.infos.back().index};
  }
}

}  // namespace mvm::registry
