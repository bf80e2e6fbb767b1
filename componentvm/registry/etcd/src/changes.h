#pragma once
// etcd's stream of changes as the registry's events.

#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "keys.h"

namespace mvm::registry {

/// The events of one revision.
struct Revision {
  std::uint64_t revision = 0;
  std::vector<Event> events;
};

/// Puts together what etcd may send in several pieces: head and item of an instance, parts of one revision.
class Changes {
 public:
  explicit Changes(const Keys& keys) : keys_(keys) {}
  /// What an answer of /v3/watch completes: revisions with events, in order.
  [[nodiscard]] std::vector<Revision> take(const nlohmann::json& result);

 private:
  struct Half {
    std::optional<Info> info;
    Item item;
    bool deleted = false;
    std::size_t order = 0;
  };
  using Halves = std::map<std::pair<std::string, std::uint64_t>, Half>;
  void add(const nlohmann::json& event);

  const Keys& keys_;
  std::map<std::uint64_t, Halves> pending_;
};

}  // namespace mvm::registry
