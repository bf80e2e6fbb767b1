#include "rewire_records.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "mvm/base/frame.h"
#include "mvm/topologies/rewiring.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using topologies::Deliver;
using topologies::Direction;
using topologies::End;
using topologies::LinkSpec;
using topologies::QueueType;
using topologies::WhenFull;

/// The value whose word this is; the first one for a word that nobody wrote.
template <class Enum>
Enum word(const json& value, std::initializer_list<Enum> all) {
  const auto text = value.get<std::string>();
  for (const auto one : all)
    if (to_string(one) == text) return one;
  return *all.begin();
}

json spec_json(const LinkSpec& spec) {
  json value = {{"type", to_string(spec.queue.type)}, {"capacity", spec.queue.capacity},
                {"bytes", spec.queue.bytes},          {"when_full", to_string(spec.queue.when_full)},
                {"deliver", to_string(spec.deliver)}, {"codecs", spec.codecs},
                {"transport", spec.transport}};
  if (spec.queue.timeout_ms) value["timeout"] = *spec.queue.timeout_ms;
  if (spec.queue.ttl_ms) value["ttl"] = *spec.queue.ttl_ms;
  return value;
}

LinkSpec spec_from(const json& value) {
  LinkSpec spec;
  spec.queue.type = word(value.at("type"), {QueueType::kFifo, QueueType::kPriority, QueueType::kLatest});
  spec.queue.capacity = value.at("capacity");
  spec.queue.bytes = value.at("bytes");
  spec.queue.when_full = word(value.at("when_full"), {WhenFull::kBlock, WhenFull::kDropOldest,
                                                      WhenFull::kDropNewest, WhenFull::kFail});
  spec.deliver = word(value.at("deliver"), {Deliver::kOneOf, Deliver::kEveryOne, Deliver::kByKey});
  spec.codecs = value.at("codecs").get<std::vector<std::string>>();
  spec.transport = value.at("transport");
  if (value.contains("timeout")) spec.queue.timeout_ms = value.at("timeout").get<std::int64_t>();
  if (value.contains("ttl")) spec.queue.ttl_ms = value.at("ttl").get<std::int64_t>();
  return spec;
}

json ends_json(const std::vector<End>& ends) {
  json list = json::array();
  for (const auto& end : ends) {
    list.push_back(end.process);
    list.push_back(end.slot);
  }
  return list;
}

std::vector<End> ends_from(const json& list) {
  std::vector<End> ends;
  for (std::size_t i = 0; i + 1 < list.size(); i += 2) ends.push_back({list.at(i), list.at(i + 1)});
  return ends;
}

json role_json(const topologies::Role& role) {
  json ports = json::array();
  for (const auto& port : role.ports)
    ports.push_back(json::array({port.name, to_string(port.direction), port.array, port.count}));
  return {{"name", role.name}, {"count", role.count}, {"ports", std::move(ports)}};
}

topologies::Role role_from(const json& value) {
  topologies::Role role;
  role.name = value.at("name");
  role.count = value.at("count");
  for (const auto& p : value.at("ports"))
    role.ports.push_back({.name = p.at(0),
                          .direction = word(p.at(1), {Direction::kIn, Direction::kOut}),
                          .array = p.at(2),
                          .count = p.at(3)});
  return role;
}

/// Parses and converts; what is missing or mistyped is kCorrupt.
template <class Convert>
auto read(std::string_view what, std::string_view text, Convert convert)
    -> decltype(convert(std::declval<const json&>())) {
  MVM_ASSIGN(const json value, parse_json(text));
  try {
    return convert(value);
  } catch (const json::exception& problem) {
    return Error(ErrorCode::kCorrupt, std::string(what) + " in the store: " + problem.what());
  }
}

json moving_json(const std::vector<MovingProcess>& processes) {
  json list = json::array();
  for (const auto& one : processes) {
    json entry = json::array({one.process, one.node, one.deadline_ms});
    if (one.end) entry.push_back(encode(*one.end));
    list.push_back(std::move(entry));
  }
  return list;
}

Result<std::vector<MovingProcess>> moving_from(const json& list) {
  std::vector<MovingProcess> processes;
  for (const auto& entry : list) {
    processes.push_back(
        {.process = entry.at(0), .node = entry.at(1), .deadline_ms = entry.at(2), .end = std::nullopt});
    if (entry.size() < 4) continue;
    MVM_ASSIGN(processes.back().end, decode_end(entry.at(3).get<std::string>()));
  }
  return processes;
}

}  // namespace

std::string encode(const RewireRecord& record) {
  json entries = json::array();
  for (const auto& e : record.entries)
    entries.push_back(json::array({e.number, e.outcome, e.reason, e.added, e.removed, e.redirected, e.changed,
                                   e.unchanged, e.started, e.left}));
  return json{{"attempt", record.attempt},
              {"state", to_string(record.state)},
              {"generation", record.generation},
              {"deadline", record.deadline_ms},
              {"patience", record.patience_ms},
              {"newcomers", moving_json(record.newcomers)},
              {"leavers", moving_json(record.leavers)},
              {"entries", std::move(entries)}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<RewireRecord> decode_rewire(std::string_view text) {
  return read("a rewiring", text, [](const json& v) -> Result<RewireRecord> {
    RewireRecord r;
    r.attempt = v.at("attempt");
    const auto state = rewire_state_from(v.at("state").get<std::string>());
    if (!state) return Error(ErrorCode::kCorrupt, "a rewiring in the store is in no state that there is");
    r.state = *state;
    r.generation = v.at("generation");
    r.deadline_ms = v.at("deadline");
    r.patience_ms = v.value("patience", std::int64_t{0});
    MVM_ASSIGN(r.newcomers, moving_from(v.value("newcomers", json::array())));
    MVM_ASSIGN(r.leavers, moving_from(v.value("leavers", json::array())));
    for (const auto& e : v.at("entries"))
      r.entries.push_back({.number = e.at(0),
                           .outcome = e.at(1),
                           .reason = e.at(2),
                           .added = e.at(3),
                           .removed = e.at(4),
                           .redirected = e.at(5),
                           .changed = e.at(6),
                           .unchanged = e.at(7),
                           .started = e.size() > 9 ? e.at(8).get<std::uint32_t>() : 0,
                           .left = e.size() > 9 ? e.at(9).get<std::uint32_t>() : 0});
    return r;
  });
}

std::string encode(const topologies::Graph& graph) {
  json roles = json::array();
  for (const auto& role : graph.roles()) roles.push_back(role_json(role));
  json specs = json::array();
  json links = json::array();
  const LinkSpec* last = nullptr;
  for (topologies::LinkId id = 0; id < graph.link_count(); ++id) {
    const auto link = graph.link(id);
    if (last == nullptr || *last != *link.spec) specs.push_back(spec_json(*link.spec));
    last = link.spec;
    links.push_back(json::array({graph.link_name(id), specs.size() - 1,
                                 ends_json({link.producers.begin(), link.producers.end()}),
                                 ends_json({link.consumers.begin(), link.consumers.end()})}));
  }
  return json{{"name", graph.name()},
              {"roles", std::move(roles)},
              {"specs", std::move(specs)},
              {"links", std::move(links)}}
      .dump();
}

Result<topologies::Graph> decode_graph(std::string_view text) {
  return read("a graph", text, [](const json& v) -> Result<topologies::Graph> {
    std::vector<topologies::Role> roles;
    for (const auto& role : v.at("roles")) roles.push_back(role_from(role));
    std::vector<LinkSpec> specs;
    for (const auto& spec : v.at("specs")) specs.push_back(spec_from(spec));
    std::vector<topologies::PlainLink> links;
    for (const auto& l : v.at("links"))
      links.push_back({.name = l.at(0),
                       .producers = ends_from(l.at(2)),
                       .consumers = ends_from(l.at(3)),
                       .spec = specs.at(std::min(l.at(1).get<std::size_t>(), specs.size() - 1))});
    return topologies::make_graph(v.at("name"), std::move(roles), links);
  });
}

}  // namespace mvm::broker
