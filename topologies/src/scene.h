#pragma once
// What a picture shows, before it is laid out: items (processes, queues, or groups of processes), the boxes
// they stand in, and edges. Small enough to draw whatever the graph's size.

#include <cstdint>
#include <string>
#include <vector>

#include "mvm/topologies/drawing.h"

namespace mvm::topologies {

inline constexpr std::size_t kNone = static_cast<std::size_t>(-1);

struct SceneItem {
  enum class Kind { kProcess, kGroup, kQueue };
  Kind kind = Kind::kProcess;
  std::string label;
  std::string detail;
  std::string tooltip;
  std::size_t role = 0;  ///< for its colour
  bool many = false;     ///< a group of several
  std::size_t box = kNone;
};

struct SceneBox {
  std::string label;
  std::string detail;
  std::size_t parent = kNone;  ///< a node's host
  bool host = false;
};

struct SceneEdge {
  std::size_t from = 0, to = 0;  ///< items
  std::string label;             ///< short; may be empty
  std::string tooltip;
  QueueType type = QueueType::kFifo;
  std::uint64_t count = 1;  ///< links it stands for
};

struct Scene {
  std::string title;
  std::string subtitle;
  std::vector<std::string> roles;
  std::vector<SceneBox> boxes;
  std::vector<SceneItem> items;
  std::vector<SceneEdge> edges;
};

/// Chooses what to show: each process and queue where there are few, roles (within their hosts) where many.
[[nodiscard]] Scene make_scene(const Drawing& drawing);

/// "fifo 256, block" and the like.
[[nodiscard]] std::string queue_text(const LinkSpec& spec);

/// "ring" of "ring[3]".
[[nodiscard]] std::string group_of_link(const std::string& link_name);

}  // namespace mvm::topologies
