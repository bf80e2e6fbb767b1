#pragma once
// Changing a graph: links put in and taken out, and how two graphs differ. Pure.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/topologies/graph.h"
#include "mvm/topologies/limits.h"
#include "mvm/topologies/profile.h"

namespace mvm::topologies {

/// A link outside a graph.
struct PlainLink {
  std::string name;
  std::vector<End> producers;
  std::vector<End> consumers;
  LinkSpec spec;
};

/// All links of a graph, in its order.
[[nodiscard]] std::vector<PlainLink> plain_links(const Graph& graph);

/// A graph of these roles and links; the links keep their names. `roles` need no numbers. kConflict where two
/// links begin at one out port, kExhausted beyond the limits, kInvalid where an end does not exist or faces
/// the wrong way.
[[nodiscard]] Result<Graph> make_graph(const std::string& name, std::vector<Role> roles,
                                       const std::vector<PlainLink>& links, const GraphLimits& limits = {});

/// A link as a user asks for it, in the words of a topology file: ends separated by blanks, and attributes of
/// <link> and <queue> ("deliver", "capacity", "when-full", ...).
struct LinkWish {
  std::string from;
  std::string to;
  std::string name;  ///< empty: made from the ends
  std::map<std::string, std::string> attributes;
};

/// The graph with one more link. kInvalid says what is wrong with the wish, kConflict which link is in the
/// way.
[[nodiscard]] Result<Graph> connect(const Graph& graph, const LinkWish& wish);
/// The graph without a link. kNotFound names it.
[[nodiscard]] Result<Graph> disconnect(const Graph& graph, const std::string& link);

/// Other attributes for a link that is there, in the words of LinkWish. What is not named stays; an empty
/// value takes an attribute away: the link is then as in a topology file without it.
struct LinkSetting {
  std::string link;  ///< "ring[3]", or "ring" for all of ring[0], ring[1], ...
  std::map<std::string, std::string> attributes;
};

/// The graph with these attributes of the link, or of the links of that pattern. kInvalid says what is wrong
/// with them, kNotFound that there is no such link.
[[nodiscard]] Result<Graph> set(const Graph& graph, const LinkSetting& setting);

enum class LinkChange : std::uint8_t {
  kAdded,
  kRemoved,
  kRedirected,  ///< of the same name, between other ends
  kChanged,     ///< between the same ends, with another queue, delivery, codec or transport
};
[[nodiscard]] std::string_view to_string(LinkChange change);

struct ChangedLink {
  LinkChange change = LinkChange::kAdded;
  std::string name;
  std::string from, to;                ///< its ends, as they will be, or, where removed, were
  std::string former_from, former_to;  ///< kRedirected: as they were
  bool operator==(const ChangedLink&) const = default;
};

struct ChangedRole {
  std::string role;
  std::uint32_t before = 0, after = 0;  ///< processes
  bool operator==(const ChangedRole&) const = default;
};

/// What lies between two graphs. A link between the same ends with the same attributes is unchanged, whatever
/// its name; ends are compared by name, so that other roles may grow meanwhile.
struct Difference {
  std::vector<ChangedLink> links;  ///< removed, then redirected and changed, then added
  std::vector<ChangedRole> roles;
  std::uint32_t unchanged = 0;  ///< links
  [[nodiscard]] bool empty() const { return links.empty() && roles.empty(); }
};
[[nodiscard]] Difference difference(const Graph& before, const Graph& after);

/// The profile with another graph of the same roles: programs keep their roles; staged files go to, and come
/// from, those processes that the file's words mean in the new graph. kInvalid where the graph has a role
/// that no program runs, or lacks one.
[[nodiscard]] Result<Profile> with_graph(const Profile& profile, Graph graph);

}  // namespace mvm::topologies
