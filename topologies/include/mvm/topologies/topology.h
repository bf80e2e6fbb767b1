#pragma once
// A topology as its file states it, and its expansion to a graph.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/error.h"
#include "mvm/topologies/diagnostic.h"
#include "mvm/topologies/graph.h"
#include "mvm/topologies/limits.h"
#include "mvm/topologies/params.h"

namespace mvm::topologies {

/// A piece of a file with the place where it stands, so that its faults can be shown.
struct Text {
  std::string value;
  SourcePosition where;
  [[nodiscard]] bool empty() const { return value.empty(); }
};

/// What `<link>` and `<pattern>` share.
struct JoinDecl {
  Text name;  ///< empty: made from its kind or ends
  LinkSpec spec;
  Text capacity, bytes, timeout, ttl;  ///< of the queue, unevaluated; empty: spec's own
  SourcePosition where;
};

/// Whether clients outside the lab reach a port, and by how many queues: kEach one for every process and
/// element, kShared one for an element of all the role's processes.
enum class Open { kNo, kEach, kShared };

/// A declared port. An empty count: one, not an array.
struct PortDecl {
  Text name;
  Direction direction = Direction::kIn;
  Text count;
  bool optional = false;  ///< may be named by no link at all
  Open open = Open::kNo;
  JoinDecl outside;  ///< of an open one: the queue to the outside
};

struct RoleDecl {
  Text name;
  Text count;  ///< number or ${expression}; empty: 1
  std::vector<PortDecl> ports;
};

/// A `<link>`: one queue for each turn of `loop`.
struct LinkDecl : JoinDecl {
  Text from, to;  ///< ends, separated by blanks
  Text loop;      ///< "i in 0..n-2, j in 0..3"; empty: one turn
};

/// A `<pattern>`: its attributes by name; which there are depends on the kind (docs/formats/topology.md).
struct PatternDecl : JoinDecl {
  Text kind;
  std::map<std::string, Text> attributes;
};

/// Links and patterns keep their order in the file: `joins` numbers them.
struct Topology {
  std::string name;
  std::vector<RoleDecl> roles;
  std::vector<LinkDecl> links;
  std::vector<PatternDecl> patterns;
  struct Join {
    bool pattern = false;
    std::size_t index = 0;
  };
  std::vector<Join> joins;
};

/// A graph, or all faults.
struct ExpandResult {
  std::optional<Graph> graph;
  std::vector<Diagnostic> diagnostics;
};

/// Expands a topology: counts, port arrays, patterns, links. Pure; linear in processes, links and ends.
[[nodiscard]] ExpandResult expand(const Topology& topology, const std::vector<Param>& params,
                                  const GraphLimits& limits = {});

}  // namespace mvm::topologies
