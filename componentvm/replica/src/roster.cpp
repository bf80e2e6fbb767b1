#include "roster.h"

#include <algorithm>

namespace mvm::replica {

bool Roster::merge(const RosterEntry& entry) {
  const auto [at, fresh] = entries_.try_emplace(entry.id, entry);
  if (fresh) return true;
  RosterEntry merged = at->second;
  // Addresses of one life differ only before it was seen; then the larger text wins, so that all agree.
  if (entry.life > merged.life || (entry.life == merged.life && entry.address > merged.address))
    merged.address = entry.address;
  merged.life = std::max(merged.life, entry.life);
  merged.dead_life = std::max(merged.dead_life, entry.dead_life);
  merged.gone = merged.gone || entry.gone;
  const bool changed = merged != at->second;
  at->second = std::move(merged);
  return changed;
}

bool Roster::bury(std::uint64_t id, std::uint64_t life) {
  const auto at = entries_.find(id);
  if (at == entries_.end() || at->second.dead_life >= life) return false;
  at->second.dead_life = life;
  return true;
}

bool Roster::retire(std::uint64_t id) {
  const auto at = entries_.find(id);
  if (at == entries_.end() || at->second.gone) return false;
  at->second.gone = true;
  return true;
}

const RosterEntry* Roster::find(std::uint64_t id) const {
  const auto at = entries_.find(id);
  return at == entries_.end() ? nullptr : &at->second;
}

bool Roster::alive(std::uint64_t id) const {
  const RosterEntry* entry = find(id);
  return entry != nullptr && entry->alive();
}

std::vector<std::uint64_t> Roster::living() const {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, entry] : entries_) {
    if (entry.alive()) ids.push_back(id);
  }
  return ids;
}

std::vector<RosterEntry> Roster::entries() const {
  std::vector<RosterEntry> all;
  all.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) all.push_back(entry);
  return all;
}

}  // namespace mvm::replica
