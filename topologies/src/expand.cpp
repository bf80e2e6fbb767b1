#include <algorithm>
#include <functional>

#include "ends.h"
#include "expander.h"
#include "mvm/topologies/limits.h"

namespace mvm::topologies {
namespace {

/// One variable of for="i in 0..n-1".
struct Loop {
  std::vector<std::string> names;
  std::vector<std::pair<BoundExpression, BoundExpression>> bounds;
};

/// Splits "i in 0..n-1, j in 0..min(a,b)" at its commas outside parentheses.
std::vector<std::pair<std::string_view, std::size_t>> split_loop(std::string_view text) {
  std::vector<std::pair<std::string_view, std::size_t>> parts;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (at == text.size() || (text[at] == ',' && depth == 0)) {
      parts.emplace_back(text.substr(begin, at - begin), begin);
      begin = at + 1;
    } else if (text[at] == '(') {
      ++depth;
    } else if (text[at] == ')') {
      --depth;
    }
  }
  return parts;
}

class Expander {
 public:
  Expander(const Topology& topology, const std::vector<Param>& params, bool values_good, bool complete,
           const GraphLimits& limits)
      : topology_(topology),
        builder_(topology.name, limits),
        expansion_{params, builder_, faults_, {}},
        values_good_(values_good),
        counts_good_(values_good),
        complete_(complete) {}

  ExpandResult run() {
    add_roles();
    builder_.roles_done();
    for (const Topology::Join& join : topology_.joins) {
      if (faults_.count() >= kMaxDiagnostics) break;
      if (join.pattern) {
        add_pattern(topology_.patterns[join.index]);
      } else {
        add_links(topology_.links[join.index]);
      }
    }
    if (faults_.empty() && counts_good_) add_open_ports();
    if (faults_.empty() && counts_good_ && complete_) check_all_ports_named();
    if (!faults_.empty() || !counts_good_) return {std::nullopt, faults_.sorted()};
    return {builder_.finish(), {}};
  }

 private:
  const std::vector<Param>& params() const { return expansion_.params; }

  void add_roles() {
    if (topology_.roles.size() > kMaxRoles) {
      faults_.add(topology_.roles.back().name.where, "found " + std::to_string(topology_.roles.size()) +
                                                         " roles, expected at most " +
                                                         std::to_string(kMaxRoles));
      return;
    }
    std::map<std::string_view, SourcePosition> seen;
    for (const RoleDecl& decl : topology_.roles) {
      const auto [earlier, fresh] = seen.emplace(decl.name.value, decl.name.where);
      if (!fresh) {
        faults_.add(decl.name.where, "duplicate role '" + decl.name.value + "', the first is in line " +
                                         std::to_string(earlier->second.line) + ", expected another name");
        continue;
      }
      add_role(decl);
    }
  }

  void add_role(const RoleDecl& decl) {
    Role role;
    role.name = decl.name.value;
    role.count = 1;
    if (!decl.count.empty()) role.count = count_of(decl.count, {"count", 1, kMaxProcesses});
    if (decl.ports.size() > kMaxPorts) {
      faults_.add(decl.name.where, "role '" + role.name + "' has " + std::to_string(decl.ports.size()) +
                                       " ports, expected at most " + std::to_string(kMaxPorts));
      counts_good_ = false;
    } else {
      for (const PortDecl& port : decl.ports) add_port(port, role);
    }
    const Status added = builder_.add_role(role);
    if (added) return;
    faults_.add(decl.count.empty() ? decl.name.where : decl.count.where, added.error().message());
    counts_good_ = false;
    // Its names stay known, so that links are checked against them.
    role.count = 0;
    for (Port& port : role.ports) port.count = 1;
    if (Status kept = builder_.add_role(std::move(role)); !kept)
      faults_.add(decl.name.where, kept.error().message());
  }

  std::uint32_t count_of(const Text& text, Range range) {
    if (!values_good_) return 1;
    const auto count = read_number(text, range, params(), faults_);
    if (!count) counts_good_ = false;
    return static_cast<std::uint32_t>(count.value_or(1));
  }

  void add_port(const PortDecl& decl, Role& role) {
    if (role.find_port(decl.name.value) != nullptr) {
      faults_.add(decl.name.where, "duplicate port '" + decl.name.value + "' of role '" + role.name +
                                       "', expected another name");
      return;
    }
    Port port{decl.name.value, decl.direction, !decl.count.empty(), 1, 0};
    if (port.array) port.count = count_of(decl.count, {"count", 0, kMaxPortCount});
    role.ports.push_back(port);
  }

  /// Evaluates the numbers of the queue.
  LinkSpec spec_of(const JoinDecl& decl) {
    LinkSpec spec = decl.spec;
    if (!values_good_) return spec;
    QueueSpec& queue = spec.queue;
    if (!decl.capacity.empty()) {
      const auto value = read_number(decl.capacity, {"capacity", 1, 1 << 24}, params(), faults_);
      if (value) queue.capacity = static_cast<std::uint32_t>(*value);
    }
    if (!decl.bytes.empty()) {
      const auto value = read_bytes(decl.bytes, "bytes", 64, params(), faults_);
      if (value && *value > (1ULL << 34U)) {
        faults_.add(decl.bytes.where, "found bytes " + decl.bytes.value + ", expected at most 16GiB");
      } else if (value) {
        queue.bytes = *value;
      }
    }
    if (!decl.timeout.empty()) queue.timeout_ms = read_duration(decl.timeout, "timeout", params(), faults_);
    if (!decl.ttl.empty()) queue.ttl_ms = read_duration(decl.ttl, "ttl", params(), faults_);
    return spec;
  }

  /// The queues between open ports and the outside; named as their ends, shared ones "role.port".
  void add_open_ports() {
    for (std::size_t r = 0; r < topology_.roles.size(); ++r) {
      for (std::size_t p = 0; p < topology_.roles[r].ports.size(); ++p) {
        const PortDecl& decl = topology_.roles[r].ports[p];
        if (decl.open == Open::kNo) continue;
        const Role& role = builder_.graph().roles()[r];
        const Port& port = role.ports[p];
        expansion_.named.insert(&port);
        const std::uint64_t queues =
            std::uint64_t{port.count} * (decl.open == Open::kShared ? 1 : role.count);
        if ((open_queues_ += queues) > kMaxOpenQueues) {
          faults_.add(decl.name.where, "open ports have more than " + std::to_string(kMaxOpenQueues) +
                                           " queues, expected fewer (or open=\"shared\")");
          return;
        }
        if (!expansion_.spend(2ULL * role.count * port.count, decl.name.where)) return;
        if (!add_open_port(decl, role, port, spec_of(decl.outside))) return;
      }
    }
  }

  bool add_open_port(const PortDecl& decl, const Role& role, const Port& port, const LinkSpec& spec) {
    const bool shared = decl.open == Open::kShared;
    for (std::uint32_t i = 0; i < (shared ? 1 : role.count); ++i) {
      const std::string process = shared ? role.name : role.name + "[" + std::to_string(i) + "]";
      builder_.begin_group(process + "." + port.name, port.array, spec);
      for (std::uint32_t element = 0; element < port.count; ++element) {
        std::vector<End> ends;
        const std::uint32_t first = shared ? 0 : i;
        for (std::uint32_t q = first; q < (shared ? role.count : first + 1); ++q)
          ends.push_back({role.first_process + q, port.first_slot + element});
        const bool in = port.direction == Direction::kIn;
        const Status added = in ? builder_.add_link({}, ends) : builder_.add_link(ends, {});
        if (added) continue;
        faults_.add(decl.name.where, added.error().message());
        return false;
      }
    }
    return true;
  }

  /// True where no earlier link or pattern was given this name.
  bool name_is_free(const JoinDecl& decl) {
    if (decl.name.empty() || names_.insert(decl.name.value).second) return true;
    faults_.add(decl.name.where, "duplicate link name '" + decl.name.value + "', expected another name");
    return false;
  }

  void add_pattern(const PatternDecl& decl) {
    const LinkSpec spec = spec_of(decl);
    if (!name_is_free(decl) || !counts_good_) return;
    expand_pattern(decl, decl.name.empty() ? decl.kind.value : decl.name.value, spec, expansion_);
  }

  // ---- single links

  std::optional<Loop> read_loop(const Text& text) {
    Loop loop;
    if (text.empty()) return loop;
    for (const auto& [part, offset] : split_loop(text.value)) {
      const std::size_t in = part.find(" in ");
      const std::size_t dots = part.find("..");
      SourcePosition where = text.where;
      where.column += static_cast<int>(offset);
      if (in == std::string_view::npos || dots == std::string_view::npos || dots < in) {
        faults_.add(where, "found '" + std::string(part) + "', expected a loop such as i in 0..n-1");
        return std::nullopt;
      }
      const std::size_t begin = part.find_first_not_of(" \t\r\n");
      const std::string name(part.substr(begin, part.find_last_not_of(" \t\r\n", in) + 1 - begin));
      const auto is_param = [&](const Param& param) { return param.name == name; };
      if (name.empty() ||
          name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") != name.npos) {
        faults_.add(where, "found the loop variable '" + name + "', expected letters only");
        return std::nullopt;
      }
      if (std::any_of(params().begin(), params().end(), is_param) ||
          std::find(loop.names.begin(), loop.names.end(), name) != loop.names.end()) {
        faults_.add(where, "the loop variable '" + name +
                               "' is a parameter or loop variable already, expected another name");
        return std::nullopt;
      }
      auto first = BoundExpression::bind(part.substr(in + 4, dots - in - 4), text, offset + in + 4, params(),
                                         loop.names, faults_);
      auto last = BoundExpression::bind(part.substr(dots + 2), text, offset + dots + 2, params(), loop.names,
                                        faults_);
      if (!first || !last) return std::nullopt;
      loop.names.push_back(name);
      loop.bounds.emplace_back(std::move(*first), std::move(*last));
    }
    return loop;
  }

  void add_links(const LinkDecl& decl) {
    const LinkSpec spec = spec_of(decl);
    if (!name_is_free(decl)) return;
    const auto loop = read_loop(decl.loop);
    if (!loop) return;
    const auto from = read_ends(decl.from, Direction::kOut, builder_.graph(), params(), loop->names, faults_);
    const auto to = read_ends(decl.to, Direction::kIn, builder_.graph(), params(), loop->names, faults_);
    for (const EndSpec& spec_end : from) expansion_.named.insert(spec_end.port);
    for (const EndSpec& spec_end : to) expansion_.named.insert(spec_end.port);
    if (from.empty() || to.empty() || !counts_good_) return;
    builder_.begin_group(decl.name.empty() ? link_name(from, to) : decl.name.value, !loop->names.empty(),
                         spec);
    std::vector<std::int64_t> values;
    turn(decl, *loop, values, from, to);
  }

  /// "source.out->cell.in"
  static std::string link_name(const std::vector<EndSpec>& from, const std::vector<EndSpec>& to) {
    const auto side = [](const std::vector<EndSpec>& ends) {
      std::string name = ends.front().role->name + "." + ends.front().port->name;
      return ends.size() > 1 ? name + "+" : name;
    };
    return side(from) + "->" + side(to);
  }

  /// All turns of the loop variables from number values.size() on; false stops after a fault.
  bool turn(const LinkDecl& decl, const Loop& loop, std::vector<std::int64_t>& values,
            const std::vector<EndSpec>& from, const std::vector<EndSpec>& to) {
    if (values.size() == loop.names.size()) return one_link(decl, values, from, to);
    const auto& [first_bound, last_bound] = loop.bounds[values.size()];
    const auto first = first_bound.evaluate(values);
    const auto last = last_bound.evaluate(values);
    if (!first || !last) {
      SourcePosition where = decl.loop.where;
      where.column += static_cast<int>((first ? last_bound : first_bound).offset());
      faults_.add(where, (first ? last : first).error().message());
      return false;
    }
    for (std::int64_t value = *first; value <= *last; ++value) {
      if (!expansion_.spend(2, decl.loop.where)) return false;
      values.push_back(value);
      const bool good = turn(decl, loop, values, from, to);
      values.pop_back();
      if (!good) return false;
    }
    return true;
  }

  bool one_link(const LinkDecl& decl, const std::vector<std::int64_t>& values,
                const std::vector<EndSpec>& from, const std::vector<EndSpec>& to) {
    producers_.clear();
    consumers_.clear();
    if (!collect(decl.from, from, values, producers_) || !collect(decl.to, to, values, consumers_))
      return false;
    if (producers_.empty() || consumers_.empty()) {
      // A port array of no elements, chosen by [*]: nothing to join.
      if (producers_.empty() && consumers_.empty()) return true;
      const Text& side = producers_.empty() ? decl.from : decl.to;
      faults_.add(side.where, "'" + side.value + "' is no end at all, expected at least one");
      return false;
    }
    if (to.size() > 1 && has_duplicates(consumers_)) {
      faults_.add(decl.to.where, "an in port is named twice by one link, expected each end once");
      return false;
    }
    const Status added = builder_.add_link(producers_, consumers_);
    if (!added) faults_.add(decl.from.where, added.error().message() + loop_text(values, decl));
    return added.has_value();
  }

  static bool has_duplicates(std::vector<End> ends) {
    const auto key = [](End end) { return (std::uint64_t{end.process} << 32U) | end.slot; };
    std::sort(ends.begin(), ends.end(), [&](End a, End b) { return key(a) < key(b); });
    return std::adjacent_find(ends.begin(), ends.end()) != ends.end();
  }

  bool collect(const Text& text, const std::vector<EndSpec>& specs, const std::vector<std::int64_t>& values,
               std::vector<End>& out) {
    for (const EndSpec& spec : specs) {
      // An index names one process; everything else may name the whole role.
      const bool one = spec.process.kind == IndexSpec::Kind::kOne;
      if (!expansion_.spend(one ? 1 : spec.role->count, text.where)) return false;
      const Status collected = collect_ends(spec, values, out, builder_.limits().ends());
      if (collected) continue;
      faults_.add(text, collected.error(), "in '" + spec.text.value + "': ");
      return false;
    }
    return true;
  }

  static std::string loop_text(const std::vector<std::int64_t>& values, const LinkDecl& decl) {
    if (values.empty()) return {};
    std::string text = " (for " + decl.loop.value + ", at ";
    for (std::size_t i = 0; i < values.size(); ++i) text += (i == 0 ? "" : ",") + std::to_string(values[i]);
    return text + ")";
  }

  /// A port that nothing names is a mistake more often than not.
  void check_all_ports_named() {
    for (std::size_t r = 0; r < topology_.roles.size(); ++r) {
      const Role& role = builder_.graph().roles()[r];
      for (std::size_t p = 0; p < role.ports.size(); ++p) {
        const PortDecl& decl = topology_.roles[r].ports[p];
        if (decl.optional || expansion_.named.contains(&role.ports[p])) continue;
        faults_.add(decl.name.where, "no link or pattern names the " +
                                         std::string(to_string(decl.direction)) + " port '" +
                                         decl.name.value + "' of role '" + role.name +
                                         "', expected one (or optional=\"true\")");
      }
    }
  }

  const Topology& topology_;
  GraphBuilder builder_;
  FaultList faults_;
  Expansion expansion_;
  std::set<std::string> names_;
  bool values_good_;  ///< of the parameters
  bool counts_good_;  ///< false: only names are worth checking, counts would mislead
  bool complete_;     ///< no link was left out
  std::uint64_t open_queues_ = 0;
  std::vector<End> producers_, consumers_;
};

}  // namespace

ExpandResult expand(const Topology& topology, const std::vector<Param>& params, const GraphLimits& limits) {
  return Expander(topology, params, true, true, limits).run();
}

ExpandResult expand_topology(const Topology& topology, const std::vector<Param>& params, bool values_good,
                             bool complete, const GraphLimits& limits) {
  return Expander(topology, params, values_good, complete, limits).run();
}

}  // namespace mvm::topologies
