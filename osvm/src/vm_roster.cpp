#include "mvm/osvm/vm_roster.h"

#include <algorithm>

namespace mvm::osvm {

void VmRoster::set_handler(Hypervisor::EventHandler handler) {
  const std::lock_guard lock(handler_mutex_);
  handler_ = std::move(handler);
}

void VmRoster::emit(const VmEvent& event) {
  const std::lock_guard lock(handler_mutex_);
  if (handler_) handler_(event);
}

void VmRoster::remember(const VmInfo& info) {
  const std::lock_guard lock(known_mutex_);
  known_[info.id] = Known{info, true};
}

void VmRoster::forget(const std::string& id) {
  const std::lock_guard lock(known_mutex_);
  known_.erase(id);
}

std::optional<VmInfo> VmRoster::recall(const std::string& id) const {
  const std::lock_guard lock(known_mutex_);
  const auto found = known_.find(id);
  if (found == known_.end()) return std::nullopt;
  return found->second.info;
}

void VmRoster::ended(const std::string& id, const std::string& why) {
  {
    const std::lock_guard lock(known_mutex_);
    const auto found = known_.find(id);
    if (found == known_.end() || !found->second.alive) return;
    found->second.alive = false;
    // Long-lived daemons: keep the dead for their consoles, but not without end.
    if (known_.size() > 4096)
      std::erase_if(known_, [&](const auto& item) { return !item.second.alive && item.first != id; });
  }
  emit({VmEvent::Kind::kStopped, id, why});
}

void VmRoster::reconcile(const std::vector<VmInfo>& alive) {
  std::vector<std::string> gone;
  {
    const std::lock_guard lock(known_mutex_);
    for (const auto& entry : known_) {
      const bool found =
          std::any_of(alive.begin(), alive.end(), [&](const VmInfo& info) { return info.id == entry.first; });
      if (entry.second.alive && !found) gone.push_back(entry.first);
    }
  }
  for (const VmInfo& info : alive) remember(info);
  for (const std::string& id : gone) ended(id, "gone while the hypervisor could not be reached");
}

IdGate::Pass::Pass(IdGate& gate, std::string id) : gate_(gate), id_(std::move(id)) {
  std::unique_lock lock(gate_.mutex_);
  gate_.changed_.wait(lock, [this] { return !gate_.busy_.contains(id_); });
  gate_.busy_.insert(id_);
}

IdGate::Pass::~Pass() {
  {
    const std::lock_guard lock(gate_.mutex_);
    gate_.busy_.erase(id_);
  }
  gate_.changed_.notify_all();
}

}  // namespace mvm::osvm
