#pragma once
// A wiring that is in use, seen by the one that follows: which trees go on, which are left to be drained.

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "mvm/broker/wiring_plan.h"

namespace mvm::broker {

class FormerWiring {
 public:
  using Ends = std::vector<std::vector<WiredEnd>>;  ///< by process

  explicit FormerWiring(const Wired& before);

  /// A tree that the next wiring wants.
  struct Wanted {
    const topologies::Graph& graph;
    const Plan& plan;
    topologies::LinkId link;
    std::span<const topologies::End> producers, consumers;
  };

  /// First: finds out what stays, and copies what is left to be drained.
  void part(const topologies::Graph& graph, const Plan& plan, WiringLayout& out, Ends& ends);
  /// Copies the wanted tree as it is. False: there is none like it.
  [[nodiscard]] bool keep(const Wanted& wanted, WiringLayout& out, Ends& ends);
  /// A new tree was made, its queues from `first` on: it follows the leaving ones between the same ends.
  void follow(const Wanted& wanted, const WiringLayout& out, std::size_t first, Ends& ends) const;

 private:
  /// One tree, by places in the old layout.
  struct Tree {
    topologies::LinkId link = topologies::kNoLink;
    std::vector<std::uint32_t> queues, carries, ends;
    std::vector<topologies::End> producers, consumers;
    bool stays = false;
  };
  [[nodiscard]] Tree* find(const Wanted& wanted);
  void copy(const Tree& tree, topologies::LinkId link, const topologies::Graph& graph, WiringLayout& out,
            Ends& ends) const;

  const Wired& before_;
  std::map<std::uint32_t, Tree> trees_;
  std::map<std::string, std::uint32_t> by_key_;                  ///< those whose links exist
  std::map<std::string, std::set<std::uint32_t>> leaving_to_;    ///< consumer's end → trees it still drains
  std::map<std::uint32_t, std::set<std::string>> leaving_from_;  ///< tree → its former producers' ends
};

}  // namespace mvm::broker
