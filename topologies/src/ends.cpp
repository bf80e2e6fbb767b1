#include "ends.h"

#include <algorithm>

namespace mvm::topologies {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

SourcePosition shifted(const Text& text, std::size_t offset) {
  SourcePosition where = text.where;
  where.column += static_cast<int>(offset);
  return where;
}

/// A piece of a list and where it starts.
struct Piece {
  std::string_view text;
  std::size_t offset = 0;
};

/// Splits at blanks outside brackets.
std::vector<Piece> split_list(std::string_view text) {
  std::vector<Piece> pieces;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    const bool end = at == text.size() || (is_blank(text[at]) && depth == 0);
    if (end) {
      if (at > begin) pieces.push_back({text.substr(begin, at - begin), begin});
      begin = at + 1;
    } else if (text[at] == '[') {
      ++depth;
    } else if (text[at] == ']' && depth > 0) {
      --depth;
    }
  }
  return pieces;
}

/// "name[index]" at `at` of `text`; leaves `at` behind it.
struct NameAndIndex {
  Piece name;
  Piece index;  ///< between the brackets
  bool has_index = false;
};
std::optional<NameAndIndex> take_name(std::string_view text, std::size_t base, std::size_t& at) {
  NameAndIndex found;
  const std::size_t begin = at;
  while (at < text.size() && text[at] != '[' && text[at] != '.' && text[at] != ']') ++at;
  found.name = {text.substr(begin, at - begin), base + begin};
  if (found.name.text.empty()) return std::nullopt;
  if (at < text.size() && text[at] == '[') {
    const std::size_t close = text.find(']', at);
    if (close == std::string_view::npos) return std::nullopt;
    found.index = {text.substr(at + 1, close - at - 1), base + at + 1};
    found.has_index = true;
    at = close + 1;
  }
  return found;
}

Piece trimmed(Piece piece) {
  while (!piece.text.empty() && is_blank(piece.text.front())) {
    piece.text.remove_prefix(1);
    ++piece.offset;
  }
  while (!piece.text.empty() && is_blank(piece.text.back())) piece.text.remove_suffix(1);
  if (piece.text.starts_with("${") && piece.text.ends_with("}") &&
      piece.text.find('}') == piece.text.size() - 1) {
    piece.text = piece.text.substr(2, piece.text.size() - 3);
    piece.offset += 2;
  }
  return piece;
}

}  // namespace

std::optional<IndexSpec> read_index(std::string_view inside, const Text& text, std::size_t offset,
                                    const std::vector<Param>& params, const std::vector<std::string>& loop,
                                    FaultList& faults) {
  IndexSpec spec;
  const Piece whole = trimmed({inside, offset});
  if (whole.text == "*") {
    spec.kind = IndexSpec::Kind::kAll;
    return spec;
  }
  const std::size_t dots = inside.find("..");
  const bool range = dots != std::string_view::npos;
  spec.kind = range ? IndexSpec::Kind::kRange : IndexSpec::Kind::kOne;
  const Piece first = range ? trimmed({inside.substr(0, dots), offset}) : whole;
  spec.first = BoundExpression::bind(first.text, text, first.offset, params, loop, faults);
  if (!spec.first) return std::nullopt;
  if (range) {
    const Piece last = trimmed({inside.substr(dots + 2), offset + dots + 2});
    spec.last = BoundExpression::bind(last.text, text, last.offset, params, loop, faults);
    if (!spec.last) return std::nullopt;
  }
  return spec;
}

Result<IndexRange> evaluate_index(const IndexSpec& index, const Indexed& indexed,
                                  std::span<const std::int64_t> loop) {
  if (index.kind == IndexSpec::Kind::kAll) return IndexRange{0, indexed.count};
  if (index.kind == IndexSpec::Kind::kNone) return IndexRange{0, 1};
  const auto value_of = [&](const BoundExpression& expression) -> Result<std::int64_t> {
    auto value = expression.evaluate(loop);
    const int offset = static_cast<int>(expression.offset());
    if (!value) {
      const int column = value.error().where().column;
      return std::move(value.error()).at(SourcePosition{{}, 0, offset + column});
    }
    if (*value < 0 || *value >= indexed.count) {
      return Error(ErrorCode::kInvalid,
                   "found index " + std::to_string(*value) + ", but " + std::string(indexed.what) + " has " +
                       std::to_string(indexed.count) + " " + std::string(indexed.unit) +
                       (indexed.count == 0 ? std::string()
                                           : ", expected 0 to " + std::to_string(indexed.count - 1)))
          .at(SourcePosition{{}, 0, offset + 1});
    }
    return *value;
  };
  MVM_ASSIGN(const std::int64_t first, value_of(*index.first));
  if (index.kind == IndexSpec::Kind::kOne) return IndexRange{static_cast<std::uint32_t>(first), 1};
  MVM_ASSIGN(const std::int64_t last, value_of(*index.last));
  if (last < first) {
    return Error(ErrorCode::kInvalid, "found the range " + std::to_string(first) + ".." +
                                          std::to_string(last) +
                                          ", expected its first number not above its last")
        .at(SourcePosition{{}, 0, static_cast<int>(index.first->offset()) + 1});
  }
  return IndexRange{static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last - first + 1)};
}

const Role* require_role(const Graph& graph, std::string_view name, const SourcePosition& where,
                         FaultList& faults) {
  if (const Role* role = graph.find_role(name)) return role;
  std::vector<std::string> names;
  for (const Role& role : graph.roles()) names.push_back(role.name);
  const std::string expected =
      names.empty() ? "the topology has no roles" : "expected one of " + join_names(names);
  faults.add(where, "unknown role '" + std::string(name) + "', " + expected, near_miss(name, names));
  return nullptr;
}

const Port* require_port(const Role& role, std::string_view name, Direction direction,
                         const SourcePosition& where, FaultList& faults) {
  const Port* port = role.find_port(name);
  if (port != nullptr && port->direction == direction) return port;
  std::vector<std::string> names;
  for (const Port& one : role.ports) {
    if (one.direction == direction) names.push_back(one.name);
  }
  const std::string wanted(to_string(direction));
  const std::string expected = names.empty()
                                   ? "the role has no " + wanted + " port"
                                   : "expected one of its " + wanted + " ports " + join_names(names);
  if (port != nullptr) {
    faults.add(where,
               "port '" + std::string(name) + "' of role '" + role.name + "' has direction " +
                   std::string(to_string(port->direction)) + ", " + expected,
               names.size() == 1 ? names.front() : near_miss(name, names));
  } else {
    faults.add(where, "unknown port '" + std::string(name) + "' of role '" + role.name + "', " + expected,
               near_miss(name, names));
  }
  return nullptr;
}

namespace {

/// Checks that a missing index is allowed: one process, one slot.
bool index_given_or_single(const NameAndIndex& part, std::uint32_t count, std::string_view what,
                           std::string_view unit, const Text& text, FaultList& faults) {
  if (part.has_index || count == 1) return true;
  const std::string name(part.name.text);
  faults.add(shifted(text, part.name.offset),
             std::string(what) + " '" + name + "' has " + std::to_string(count) + " " + std::string(unit) +
                 ", expected an index such as " + name + "[*] or " + name + "[0]");
  return false;
}

std::optional<EndSpec> read_end(Piece piece, const Text& text, Direction direction, const Graph& graph,
                                const std::vector<Param>& params, const std::vector<std::string>& loop,
                                FaultList& faults) {
  std::size_t at = 0;
  const auto process = take_name(piece.text, piece.offset, at);
  std::optional<NameAndIndex> port;
  if (process && at < piece.text.size() && piece.text[at] == '.') {
    ++at;
    port = take_name(piece.text, piece.offset, at);
  }
  if (!port || at != piece.text.size()) {
    faults.add(shifted(text, piece.offset), "found '" + std::string(piece.text) +
                                                "', expected role.port, role[index].port or role[*].port");
    return std::nullopt;
  }
  EndSpec spec;
  spec.text = {std::string(piece.text), text.where};
  spec.role = require_role(graph, process->name.text, shifted(text, process->name.offset), faults);
  if (spec.role == nullptr) return std::nullopt;
  spec.port = require_port(*spec.role, port->name.text, direction, shifted(text, port->name.offset), faults);
  bool good = spec.port != nullptr;
  const auto index = [&](const NameAndIndex& part, IndexSpec& out) {
    if (!part.has_index) return true;
    auto read = read_index(part.index.text, text, part.index.offset, params, loop, faults);
    if (read) out = std::move(*read);
    return read.has_value();
  };
  good = index(*process, spec.process) && good;
  good = index(*port, spec.slot) && good;
  good = index_given_or_single(*process, spec.role->count, "role", "processes", text, faults) && good;
  if (spec.port != nullptr) {
    good = index_given_or_single(*port, spec.port->count, "port", "elements", text, faults) && good;
  }
  if (!good) return std::nullopt;
  return spec;
}

}  // namespace

std::vector<EndSpec> read_ends(const Text& text, Direction direction, const Graph& graph,
                               const std::vector<Param>& params, const std::vector<std::string>& loop,
                               FaultList& faults) {
  std::vector<EndSpec> specs;
  bool good = true;
  for (const Piece& piece : split_list(text.value)) {
    auto spec = read_end(piece, text, direction, graph, params, loop, faults);
    good = good && spec.has_value();
    if (spec) specs.push_back(std::move(*spec));
  }
  if (specs.empty() && good) faults.add(text.where, "found no end, expected role.port");
  if (!good) specs.clear();
  return specs;
}

Status collect_ends(const EndSpec& spec, std::span<const std::int64_t> loop, std::vector<End>& out,
                    std::uint64_t most) {
  const std::string role = "role '" + spec.role->name + "'";
  const std::string port = "port '" + spec.port->name + "'";
  MVM_ASSIGN(const IndexRange processes,
             evaluate_index(spec.process, {role, "processes", spec.role->count}, loop));
  MVM_ASSIGN(const IndexRange slots, evaluate_index(spec.slot, {port, "elements", spec.port->count}, loop));
  if (out.size() + std::uint64_t{processes.size} * slots.size > most) {
    return Error(ErrorCode::kExhausted, "the link has more than " + std::to_string(most) + " ends");
  }
  for (std::uint32_t p = 0; p < processes.size; ++p) {
    for (std::uint32_t s = 0; s < slots.size; ++s) {
      out.push_back(
          {spec.role->first_process + processes.first + p, spec.port->first_slot + slots.first + s});
    }
  }
  return ok();
}

std::vector<ProcessId> read_processes(const Text& text, const Graph& graph, const std::vector<Param>& params,
                                      FaultList& faults) {
  std::vector<ProcessId> processes;
  for (const Piece& piece : split_list(text.value)) {
    std::size_t at = 0;
    const auto part = take_name(piece.text, piece.offset, at);
    if (!part || at != piece.text.size()) {
      faults.add(shifted(text, piece.offset),
                 "found '" + std::string(piece.text) + "', expected role, role[index] or role[*]");
      continue;
    }
    const Role* role = require_role(graph, part->name.text, shifted(text, part->name.offset), faults);
    if (role == nullptr || !index_given_or_single(*part, role->count, "role", "processes", text, faults))
      continue;
    IndexSpec index;
    if (part->has_index) {
      auto read = read_index(part->index.text, text, part->index.offset, params, {}, faults);
      if (!read) continue;
      index = std::move(*read);
    }
    auto range = evaluate_index(index, {"role '" + role->name + "'", "processes", role->count}, {});
    if (!range) {
      faults.add(text, range.error());
      continue;
    }
    if (processes.size() + range->size > std::uint64_t{graph.process_count()} * 2) {
      faults.add(text.where, "the list names processes more than twice, expected each once");
      return {};
    }
    for (std::uint32_t i = 0; i < range->size; ++i)
      processes.push_back(role->first_process + range->first + i);
  }
  std::sort(processes.begin(), processes.end());
  processes.erase(std::unique(processes.begin(), processes.end()), processes.end());
  return processes;
}

}  // namespace mvm::topologies
