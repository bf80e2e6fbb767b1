#include "changes.h"

#include <algorithm>

#include "client.h"
#include "mvm/base/json.h"

namespace mvm::registry {

void Changes::add(const nlohmann::json& event) {
  const auto& pair = object_or_empty(event, "kv");
  const std::uint64_t revision = number_of(pair, "mod_revision");
  const auto place = keys_.place(bytes_of(pair, "key"));
  if (!place || revision == 0) return;
  const bool deleted = text_or(event, "type") == "DELETE";
  auto& halves = pending_[revision];
  auto& half = halves[{place->name, place->index}];
  if (half.order == 0) half.order = halves.size();
  if (deleted) {
    half.deleted = true;
  } else if (place->is_head) {
    auto info = decode_head(bytes_of(pair, "value"));
    if (!info) return;
    info->name = place->name;
    info->index = place->index;
    info->revision = revision;
    half.info = std::move(*info);
  } else {
    half.item = make_item(bytes_of(pair, "value"));
  }
}

std::vector<Revision> Changes::take(const nlohmann::json& result) {
  for (const auto& event : array_or_empty(result, "events")) add(event);
  std::vector<Revision> complete;
  if (flag_or(result, "fragment")) return complete;  // the rest of the last revision follows
  for (auto& [revision, halves] : pending_) {
    std::vector<std::pair<std::size_t, Event>> ordered;
    for (auto& [place, half] : halves) {
      Event event{.revision = revision, .deleted = half.deleted, .info = {}, .item = nullptr};
      if (half.deleted) {
        event.info.name = place.first;
        event.info.index = place.second;
      } else if (half.info && half.item) {
        event.info = std::move(*half.info);
        event.item = std::move(half.item);
      } else {
        continue;  // nobody of ours wrote it
      }
      ordered.emplace_back(half.order, std::move(event));
    }
    std::sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    Revision done{.revision = revision, .events = {}};
    for (auto& [order, event] : ordered) done.events.push_back(std::move(event));
    if (!done.events.empty()) complete.push_back(std::move(done));
  }
  pending_.clear();
  return complete;
}

}  // namespace mvm::registry
