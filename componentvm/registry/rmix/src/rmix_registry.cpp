#include "mvm/registry/rmix/rmix_registry.h"

#include <atomic>
#include <cstring>

#include "mvm/registry/table.h"
#include "registry.rmix.h"

namespace mvm::registry {
namespace {

using rmix::Reply;
using std::chrono::milliseconds;

constexpr milliseconds kSlice{1000};       // a watch looks so often whether it is to end
constexpr milliseconds kPatience{10'000};  // for the answer to a watch, beyond its time

rmix::Bytes bytes_of(std::string_view text) {
  rmix::Bytes bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::string_view view_of(const rmix::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

wire::Info to_wire(const Info& info) {
  return {.name = info.name,
          .index = info.index,
          .owner = info.owner,
          .flags = info.flags,
          .lease = info.lease,
          .revision = info.revision,
          .size = info.size};
}

Info from_wire(wire::Info info) {
  return {.name = std::move(info.name),
          .index = info.index,
          .owner = std::move(info.owner),
          .flags = info.flags,
          .lease = info.lease,
          .revision = info.revision,
          .size = info.size};
}

using Behind = Registry;  // in the stub's classes that name is theirs

class Served final : public wire::RegistryServer {
 public:
  Served(Behind& registry, OwnerRule rule) : registry_(registry), rule_(std::move(rule)) {}

  Reply<rmix::Bytes> update(rmix::Bytes bytes) override {
    auto update = decode_update(view_of(bytes));
    if (!update) return Error(ErrorCode::kInvalid, update.error().message());
    for (auto& operation : update->operations) {
      if (operation.kind == Operation::Kind::kCheck) continue;
      auto owner = rule_(context().caller, operation.owner);
      if (!owner) return std::move(owner).error();
      operation.owner = std::move(*owner);
    }
    const auto applied = registry_.update(*update);
    if (!applied) return applied.error();
    return bytes_of(encode(*applied));
  }
  Reply<std::uint64_t> put(std::string name, rmix::Bytes item, std::uint32_t flags, std::uint64_t index,
                           std::uint64_t lease, std::string owner) override {
    auto owned = rule_(context().caller, owner);
    if (!owned) return std::move(owned).error();
    Operation operation{.kind = Operation::Kind::kPut,
                        .name = std::move(name),
                        .index = index,
                        .flags = flags,
                        .owner = std::move(*owned),
                        .lease = lease,
                        .item = make_item(std::string(view_of(item)))};
    const auto applied = registry_.update(Update{.request = {}, .operations = {std::move(operation)}});
    if (!applied) return applied.error();
    return applied->outcomes.front().index;
  }
  Reply<wire::Instance> read(std::string name, std::uint64_t index, std::uint32_t flags) override {
    const auto found = registry_.read(name, index, flags);
    if (!found) return found.error();
    return wire::Instance{.info = to_wire(found->info), .item = bytes_of(*found->item)};
  }
  Reply<wire::Listing> list(std::string pattern, std::string after, std::uint64_t after_index,
                            std::uint32_t limit) override {
    std::optional<Position> position;
    if (!after.empty()) position = Position{.name = std::move(after), .index = after_index};
    const auto listing = registry_.list(pattern, position, std::min<std::size_t>(limit, 10000));
    if (!listing) return listing.error();
    wire::Listing answer{.infos = {}, .revision = listing->revision, .more = listing->more};
    for (const auto& info : listing->infos) answer.infos.push_back(to_wire(info));
    return answer;
  }
  Reply<wire::Events> watch(std::uint64_t after, std::string pattern, std::uint32_t wait_ms,
                            std::uint32_t limit) override {
    const auto events = registry_.watch(after, pattern, milliseconds(wait_ms), limit);
    if (!events) return events.error();
    wire::Events answer{.events = {}, .cursor = events->cursor};
    for (const auto& event : events->events) {
      wire::Info info = to_wire(event.info);
      info.revision = event.revision;
      answer.events.push_back({.deleted = event.deleted,
                               .info = std::move(info),
                               .item = event.item ? bytes_of(*event.item) : rmix::Bytes()});
    }
    return answer;
  }
  Reply<void> keep_alive(std::uint64_t lease) override {
    const auto kept = registry_.keep_alive(lease);
    if (!kept) return kept.error();
    return {};
  }

 private:
  Behind& registry_;
  OwnerRule rule_;
};

class Remote final : public Registry {
 public:
  explicit Remote(wire::RegistryClient client) : client_(std::move(client)) {}

  Result<Applied> update(const Update& update) override {
    MVM_TRY(check_update(update));
    auto reply = client_.update(bytes_of(encode(update)));
    if (const auto* failure = reply.failure()) return updated(*failure);
    MVM_ASSIGN(const auto bytes, std::move(reply).result());
    return decode_applied(view_of(bytes));
  }
  Result<Instance> read(std::string_view name, std::uint64_t index, std::uint32_t flags) override {
    MVM_TRY(check_name(name));
    MVM_ASSIGN(auto found, client_.read(std::string(name), index, flags).result());
    return Instance{.info = from_wire(std::move(found.info)),
                    .item = make_item(std::string(view_of(found.item)))};
  }
  Result<Listing> list(std::string_view pattern, const std::optional<Position>& after,
                       std::size_t limit) override {
    MVM_TRY(check_pattern(pattern));
    MVM_ASSIGN(auto found, client_
                               .list(std::string(pattern), after ? after->name : std::string(),
                                     after ? after->index : 0, clipped(limit))
                               .result());
    Listing listing{.infos = {}, .revision = found.revision, .more = found.more};
    for (auto& info : found.infos) listing.infos.push_back(from_wire(std::move(info)));
    return listing;
  }
  Result<Events> watch(std::uint64_t after, std::string_view pattern, milliseconds wait,
                       std::size_t limit) override {
    MVM_TRY(check_pattern(pattern));
    const auto ends = std::chrono::steady_clock::now() + std::clamp(wait, milliseconds(0), kMaxPoll);
    while (true) {
      if (stopped_) return Error(ErrorCode::kCancelled, "the registry is being stopped");
      const auto left = std::chrono::ceil<milliseconds>(ends - std::chrono::steady_clock::now());
      const auto slice = std::clamp(left, milliseconds(0), kSlice);
      MVM_ASSIGN(auto found, once(after, pattern, slice, limit));
      if (!found.events.empty() || left <= slice) return found;
      after = found.cursor;
    }
  }
  Status keep_alive(std::uint64_t lease) override { return client_.keep_alive(lease).result(); }
  void stop() override { stopped_ = true; }

 private:
  static std::uint32_t clipped(std::size_t limit) {
    return static_cast<std::uint32_t>(std::min<std::size_t>(limit, UINT32_MAX));
  }
  /// Whether it happened is known to nobody here.
  static Error updated(const rmix::Failure& failure) {
    const bool open = failure.fate == rmix::Fate::kUnknown ||
                      (failure.fate == rmix::Fate::kRan && failure.error.code() == ErrorCode::kCorrupt);
    if (!open) return failure.error;
    return Error(failure.error).wrap("the registry was asked and has not answered: it may have happened");
  }
  Result<Events> once(std::uint64_t after, std::string_view pattern, milliseconds wait, std::size_t limit) {
    auto reply =
        client_
            .start_watch(after, std::string(pattern), static_cast<std::uint32_t>(wait.count()),
                         clipped(limit), {.deadline = std::chrono::steady_clock::now() + wait + kPatience})
            .get();
    MVM_ASSIGN(auto found, std::move(reply).result());
    Events events{.events = {}, .cursor = found.cursor};
    for (auto& event : found.events) {
      const std::uint64_t revision = event.info.revision;
      events.events.push_back(
          {.revision = revision,
           .deleted = event.deleted,
           .info = from_wire(std::move(event.info)),
           .item = event.deleted ? nullptr : make_item(std::string(view_of(event.item)))});
    }
    return events;
  }

  wire::RegistryClient client_;
  std::atomic<bool> stopped_{false};
};

}  // namespace

std::shared_ptr<rmix::Service> make_rmix_service(Registry& registry, OwnerRule rule) {
  return std::make_shared<Served>(registry, std::move(rule));
}

Result<std::unique_ptr<Registry>> bind_rmix_registry(rmix::Client& client, const std::string& address) {
  MVM_ASSIGN(const auto read, rmix::Address::read(address));
  MVM_ASSIGN(auto stub, wire::RegistryClient::bind(client, read));
  return std::unique_ptr<Registry>(std::make_unique<Remote>(std::move(stub)));
}

}  // namespace mvm::registry
