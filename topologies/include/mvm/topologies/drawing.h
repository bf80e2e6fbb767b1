#pragma once
// Pictures of a lab in three layers: hosts and nodes, processes, queues. Pure: text in, text out.

#include <cstdint>
#include <string>
#include <vector>

#include "mvm/topologies/graph.h"

namespace mvm::topologies {

/// What to draw. Only `graph` is needed: then it is the logical topology alone.
struct Drawing {
  struct Host {
    std::string label;   ///< "alpha"
    std::string detail;  ///< "x86_64, 8 vcpus"; may be empty
  };
  struct Node {
    std::string label;       ///< "cell-0"
    std::string detail;      ///< "lxc host 256MiB up"; may be empty
    std::uint32_t host = 0;  ///< number in `hosts`; ignored where hosts is empty
  };
  static constexpr std::uint32_t kNowhere = 0xffffffffU;

  std::string title;
  const Graph* graph = nullptr;  ///< not owned; null or empty: a lab without processes
  std::vector<Host> hosts;
  std::vector<Node> nodes;
  std::vector<std::uint32_t> node_of;  ///< for each process its number in `nodes`, or kNowhere; or empty
  std::vector<std::string> process_details;  ///< for each process, e.g. "running"; or empty
  std::vector<std::string> link_details;     ///< for each link, e.g. "3/256 shm"; or empty
};

/// Processes beyond this number are drawn role by role (or node by node) instead of one by one.
inline constexpr std::uint32_t kDrawnProcesses = 200;

/// Graphviz DOT: hosts and nodes as clusters.
[[nodiscard]] std::string to_dot(const Drawing& drawing);
/// A self-contained SVG 1.1.
[[nodiscard]] std::string to_svg(const Drawing& drawing);
/// Plain text for a terminal, UTF-8, at most a few hundred lines.
[[nodiscard]] std::string to_text(const Drawing& drawing);

}  // namespace mvm::topologies
