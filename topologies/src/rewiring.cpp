#include "mvm/topologies/rewiring.h"

#include <algorithm>
#include <set>

#include "ends.h"
#include "graph_builder.h"
#include "mvm/topologies/codecs.h"
#include "mvm/topologies/reader.h"
#include "values.h"

namespace mvm::topologies {
namespace {

/// "a[0].out b[0].out"
std::string names_of(const Graph& graph, std::span<const End> ends) {
  std::string text;
  for (const End end : ends) text += (text.empty() ? "" : " ") + graph.end_name(end);
  return text;
}

std::string key_of(const Graph& graph, const Link& link) {
  return names_of(graph, link.producers) + " > " + names_of(graph, link.consumers);
}

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string attribute(std::string_view name, std::string_view value) {
  return " " + std::string(name) + "=\"" + escaped(value) + "\"";
}

using Attributes = std::map<std::string, std::string>;

constexpr std::size_t kAttributesOfLink = 3;  ///< the first of these; the others are <queue>'s
const std::vector<std::string>& attribute_names() {
  static const std::vector<std::string> kNames = {"deliver", "codec",     "transport", "type", "capacity",
                                                  "bytes",   "when-full", "timeout",   "ttl"};
  return kNames;
}

/// " deliver=...><queue capacity=.../></link>", behind the ends of a <link>.
Result<std::string> attributes_as_file(const Attributes& attributes) {
  const auto& names = attribute_names();
  std::string of_link, of_queue;
  for (const auto& [name, value] : attributes) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      const std::string near = near_miss(name, names);
      return Error(ErrorCode::kInvalid, "found the attribute '" + name + "' of a link, expected one of " +
                                            join_names(names) +
                                            (near.empty() ? "" : "; did you mean " + near + "?"));
    }
    (found - names.begin() < std::ptrdiff_t{kAttributesOfLink} ? of_link : of_queue) +=
        attribute(name, value);
  }
  return of_link + "><queue" + of_queue + "/></link>\n";
}

std::string file_of(const std::string& body) {
  return "<topology xmlns=\"urn:mvm:topology:1\" name=\"wish\">\n" + body + "</topology>\n";
}

/// The judge of wishes: the reader of topology files.
Result<Graph> read_file_of(const std::string& body) {
  const ReadResult read = read_profile(file_of(body), "link");
  if (read.profile) return read.profile->graph;
  std::string faults;
  for (const Diagnostic& one : read.diagnostics) faults += (faults.empty() ? "" : "; ") + one.text();
  return Error(ErrorCode::kInvalid, faults);
}

/// The wish as a topology of the graph's roles and nothing but this link.
Result<std::string> wish_as_file(const Graph& graph, const LinkWish& wish) {
  std::string xml;
  for (const Role& role : graph.roles()) {
    xml += "<role" + attribute("name", role.name) + attribute("count", std::to_string(role.count)) + ">";
    for (const Port& port : role.ports) {
      xml += "<port" + attribute("name", port.name) + attribute("direction", to_string(port.direction)) +
             " optional=\"true\"";
      if (port.array) xml += attribute("count", std::to_string(port.count));
      xml += "/>";
    }
    xml += "</role>\n";
  }
  std::string of_link = attribute("from", wish.from) + attribute("to", wish.to);
  if (!wish.name.empty()) of_link += attribute("name", wish.name);
  MVM_ASSIGN(const std::string rest, attributes_as_file(wish.attributes));
  return xml + "<link" + of_link + rest;
}

/// The words that a file would say this with.
Attributes words_of(const LinkSpec& spec) {
  Attributes words = {{"deliver", std::string(to_string(spec.deliver))},
                      {"type", std::string(to_string(spec.queue.type))},
                      {"capacity", std::to_string(spec.queue.capacity)},
                      {"bytes", std::to_string(spec.queue.bytes)},
                      {"when-full", std::string(to_string(spec.queue.when_full))}};
  if (!spec.codecs.empty()) words["codec"] = codecs_text(spec.codecs);
  if (!spec.transport.empty()) words["transport"] = spec.transport;
  if (spec.queue.timeout_ms) words["timeout"] = std::to_string(*spec.queue.timeout_ms) + "ms";
  if (spec.queue.ttl_ms) words["ttl"] = std::to_string(*spec.queue.ttl_ms) + "ms";
  return words;
}

/// What a link of this kind becomes.
Result<LinkSpec> changed(const LinkSpec& spec, const Attributes& attributes) {
  Attributes words = words_of(spec);
  for (const auto& [name, value] : attributes) {
    words[name] = value;
    if (value.empty() && std::ranges::count(attribute_names(), name) > 0) words.erase(name);
  }
  MVM_ASSIGN(const std::string rest, attributes_as_file(words));
  MVM_ASSIGN(const Graph judged, read_file_of("<role name=\"a\"><port name=\"out\" direction=\"out\"/></role>"
                                              "<role name=\"b\"><port name=\"in\" direction=\"in\"/></role>"
                                              "<link from=\"a.out\" to=\"b.in\"" +
                                              rest));
  return *judged.link(0).spec;
}

/// "ring[3]" where the pattern is "ring".
bool is_of_pattern(std::string_view link, std::string_view pattern) {
  if (pattern.empty() || !link.starts_with(pattern) || !link.ends_with(']')) return false;
  link.remove_prefix(pattern.size());
  return link.starts_with('[') && link.find('[', 1) == std::string_view::npos;
}

Error no_link(const Graph& graph, const std::string& wanted) {
  constexpr LinkId kLooked = 10'000;
  std::vector<std::string> names;
  for (LinkId id = 0; id < std::min(graph.link_count(), kLooked); ++id) names.push_back(graph.link_name(id));
  const std::string near = near_miss(wanted, names);
  return {ErrorCode::kNotFound,
          "there is no link " + wanted + (near.empty() ? "" : "; did you mean " + near + "?")};
}

Status check_end(const Graph& graph, End end, Direction direction) {
  if (end.process >= graph.process_count() ||
      end.slot >= graph.roles()[graph.role_of(end.process)].slot_count)
    return Error(ErrorCode::kInvalid, "a link ends at a port that does not exist");
  if (graph.port_at(end).direction != direction)
    return Error(ErrorCode::kInvalid, graph.end_name(end) + " is an " +
                                          std::string(to_string(graph.port_at(end).direction)) + " port");
  return ok();
}

Status add_plain(GraphBuilder& builder, const PlainLink& link) {
  const Graph& graph = builder.graph();
  for (const End end : link.producers) MVM_TRY(check_end(graph, end, Direction::kOut));
  for (const End end : link.consumers) MVM_TRY(check_end(graph, end, Direction::kIn));
  builder.begin_group(link.name, false, link.spec);
  return builder.add_link(link.producers, link.consumers);
}

/// The processes of a stage in another graph: what its text means there; where it means nothing there any
/// more, those it meant before that are left.
std::vector<ProcessId> renumbered(const Profile& profile, const Graph& after, const std::string& text,
                                  const std::vector<ProcessId>& processes) {
  FaultList faults;
  auto meant = read_processes({text, {}}, after, profile.params, faults);
  if (!text.empty() && faults.empty()) return meant;
  const Graph& before = profile.graph;
  std::vector<ProcessId> result;
  for (const ProcessId process : processes)
    if (const auto now = after.find_process(before.process_name(process))) result.push_back(*now);
  return result;
}

}  // namespace

std::string_view to_string(LinkChange change) {
  switch (change) {
    case LinkChange::kAdded:
      return "added";
    case LinkChange::kRemoved:
      return "removed";
    case LinkChange::kRedirected:
      return "redirected";
    case LinkChange::kChanged:
      return "changed";
  }
  return "";
}

std::vector<PlainLink> plain_links(const Graph& graph) {
  std::vector<PlainLink> links;
  links.reserve(graph.link_count());
  for (LinkId id = 0; id < graph.link_count(); ++id) {
    const Link link = graph.link(id);
    links.push_back({graph.link_name(id),
                     {link.producers.begin(), link.producers.end()},
                     {link.consumers.begin(), link.consumers.end()},
                     *link.spec});
  }
  return links;
}

Result<Graph> make_graph(const std::string& name, std::vector<Role> roles,
                         const std::vector<PlainLink>& links, const GraphLimits& limits) {
  GraphBuilder builder(name, limits);
  for (Role& role : roles) MVM_TRY(builder.add_role(std::move(role)));
  builder.roles_done();
  for (const PlainLink& link : links) MVM_TRY(add_plain(builder, link));
  return builder.finish();
}

Result<Graph> connect(const Graph& graph, const LinkWish& wish) {
  MVM_ASSIGN(const std::string body, wish_as_file(graph, wish));
  MVM_ASSIGN(const Graph wished, read_file_of(body));
  std::vector<PlainLink> links = plain_links(graph);
  for (PlainLink& link : plain_links(wished)) {
    for (const End end : link.producers)
      if (const auto there = graph.links_at(end); !there.empty())
        return Error(ErrorCode::kConflict, "the out port " + graph.end_name(end) + " has the link " +
                                               graph.link_name(there.front()) + "; disconnect that first");
    links.push_back(std::move(link));
  }
  return make_graph(graph.name(), graph.roles(), links);
}

Result<Graph> disconnect(const Graph& graph, const std::string& link) {
  const auto found = graph.find_link(link);
  if (!found) return no_link(graph, link);
  std::vector<PlainLink> links = plain_links(graph);
  links.erase(links.begin() + *found);
  return make_graph(graph.name(), graph.roles(), links);
}

Result<Graph> set(const Graph& graph, const LinkSetting& setting) {
  if (setting.attributes.empty())
    return Error(ErrorCode::kInvalid,
                 "found no attribute to be set, expected one of " + join_names(attribute_names()));
  const bool one = graph.find_link(setting.link).has_value();
  std::vector<PlainLink> links = plain_links(graph);
  bool found = false;
  for (PlainLink& link : links) {
    if (one ? link.name != setting.link : !is_of_pattern(link.name, setting.link)) continue;
    MVM_ASSIGN(link.spec, changed(link.spec, setting.attributes));
    found = true;
  }
  if (!found) return no_link(graph, setting.link);
  return make_graph(graph.name(), graph.roles(), links);
}

Difference difference(const Graph& before, const Graph& after) {
  Difference result;
  std::multimap<std::string, LinkId> old_by_ends;
  std::map<std::string, LinkId> old_by_name;
  for (LinkId id = 0; id < before.link_count(); ++id) {
    old_by_ends.emplace(key_of(before, before.link(id)), id);
    old_by_name.emplace(before.link_name(id), id);
  }
  std::set<LinkId> settled;
  std::vector<LinkId> open;
  std::vector<ChangedLink> changed;
  std::vector<ChangedLink> added;
  for (LinkId id = 0; id < after.link_count(); ++id) {
    const Link link = after.link(id);
    const auto [first, last] = old_by_ends.equal_range(key_of(after, link));
    const auto unused =
        std::find_if(first, last, [&](const auto& entry) { return !settled.contains(entry.second); });
    if (unused == last) {
      open.push_back(id);
      continue;
    }
    settled.insert(unused->second);
    if (*before.link(unused->second).spec == *link.spec)
      ++result.unchanged;
    else
      changed.push_back({LinkChange::kChanged,
                         after.link_name(id),
                         names_of(after, link.producers),
                         names_of(after, link.consumers),
                         {},
                         {}});
  }
  for (const LinkId id : open) {
    const Link link = after.link(id);
    ChangedLink entry{LinkChange::kAdded,
                      after.link_name(id),
                      names_of(after, link.producers),
                      names_of(after, link.consumers),
                      {},
                      {}};
    const auto former = old_by_name.find(entry.name);
    if (former == old_by_name.end() || !settled.insert(former->second).second) {
      added.push_back(std::move(entry));
      continue;
    }
    entry.change = LinkChange::kRedirected;
    entry.former_from = names_of(before, before.link(former->second).producers);
    entry.former_to = names_of(before, before.link(former->second).consumers);
    changed.push_back(std::move(entry));
  }
  for (LinkId id = 0; id < before.link_count(); ++id) {
    if (settled.contains(id)) continue;
    const Link link = before.link(id);
    result.links.push_back({LinkChange::kRemoved,
                            before.link_name(id),
                            names_of(before, link.producers),
                            names_of(before, link.consumers),
                            {},
                            {}});
  }
  result.links.insert(result.links.end(), changed.begin(), changed.end());
  result.links.insert(result.links.end(), added.begin(), added.end());
  for (const Role& role : before.roles()) {
    const Role* now = after.find_role(role.name);
    const std::uint32_t count = now == nullptr ? 0 : now->count;
    if (count != role.count) result.roles.push_back({role.name, role.count, count});
  }
  for (const Role& role : after.roles())
    if (before.find_role(role.name) == nullptr && role.count > 0)
      result.roles.push_back({role.name, 0, role.count});
  return result;
}

Result<Profile> with_graph(const Profile& profile, Graph graph) {
  Profile result = profile;
  result.programs.clear();
  for (const Role& role : graph.roles()) {
    const auto program = std::find_if(profile.programs.begin(), profile.programs.end(),
                                      [&](const Program& one) { return one.role == role.name; });
    if (program == profile.programs.end())
      return Error(ErrorCode::kInvalid,
                   "the topology has the role " + role.name + ", for which the job has no program");
    result.programs.push_back(*program);
  }
  for (const Program& program : profile.programs)
    if (graph.find_role(program.role) == nullptr)
      return Error(ErrorCode::kInvalid,
                   "the topology lacks the role " + program.role + ", which the job runs");
  for (StageIn& stage : result.stage_in) stage.to = renumbered(profile, graph, stage.to_text, stage.to);
  for (StageOut& stage : result.stage_out)
    stage.from = renumbered(profile, graph, stage.from_text, stage.from);
  result.graph = std::move(graph);
  return result;
}

}  // namespace mvm::topologies
