#include "sessions.h"

#include "mvm/base/log.h"

namespace mvm::plugins::registry {
namespace {

constexpr std::chrono::seconds kTtl{5};
constexpr std::chrono::milliseconds kBeat{1500};
constexpr std::size_t kMaxOwners = 4096;

}  // namespace

Sessions::Sessions(mvm::registry::Registry& registry)
    : registry_(registry), thread_([this] { keep_alive(); }) {}

void Sessions::end() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  for (const auto& [owner, lease] : leases_)
    if (const auto ended = mvm::registry::revoke(registry_, owner, lease); !ended)
      log::warning("registry.lease.left", {{"owner", owner}, {"reason", ended.error().message()}});
}

Result<std::uint64_t> Sessions::lease_of(const std::string& owner) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = leases_.find(owner); found != leases_.end()) return found->second;
    if (leases_.size() >= kMaxOwners)
      return Error(ErrorCode::kExhausted,
                   "this node holds leases of " + std::to_string(kMaxOwners) + " owners");
  }
  MVM_ASSIGN(const auto lease, mvm::registry::grant(registry_, owner, kTtl));
  std::unique_lock lock(mutex_);
  const auto [at, fresh] = leases_.try_emplace(owner, lease);
  const std::uint64_t kept = at->second;
  lock.unlock();
  // Somebody else was quicker.
  if (!fresh) (void)mvm::registry::revoke(registry_, owner, lease);
  return kept;
}

void Sessions::forget(const std::string& owner, std::uint64_t lease) {
  const std::lock_guard lock(mutex_);
  if (const auto found = leases_.find(owner); found != leases_.end() && found->second == lease)
    leases_.erase(found);
}

void Sessions::keep_alive() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kBeat, [this] { return stopping_; })) {
    const auto leases = leases_;
    lock.unlock();
    for (const auto& [owner, lease] : leases) {
      const auto kept = registry_.keep_alive(lease);
      if (!kept && kept.error().code() == ErrorCode::kNotFound) {
        log::warning("registry.lease.lost", {{"owner", owner}});
        forget(owner, lease);
      }
    }
    lock.lock();
  }
}

}  // namespace mvm::plugins::registry
