// The ready-made patterns (docs/formats/topology.md). Each looks up its roles and ports, reports every fault,
// and only then adds links.

#include <array>
#include <bit>
#include <functional>

#include "ends.h"
#include "expander.h"
#include "mvm/topologies/limits.h"

namespace mvm::topologies {
namespace {

/// A port, or one element of a port array, that an attribute names.
struct PortUse {
  const Port* port = nullptr;
  Slot first = 0;
  std::uint32_t count = 1;
  bool array = false;  ///< a whole array
  [[nodiscard]] Slot slot(std::uint32_t element) const { return array ? first + element : first; }
};

/// How many elements a port must have where it is an array.
enum class Shape {
  kSingle,  ///< one slot
  kArray,   ///< an array of exactly `count`
  kEither,  ///< an array of exactly `count`, or one slot that all links share (in ports)
};

class PatternExpander {
 public:
  PatternExpander(const PatternDecl& decl, const std::string& name, const LinkSpec& spec,
                  Expansion& expansion)
      : decl_(decl), name_(name), spec_(spec), x_(expansion), faults_before_(expansion.faults.count()) {}

  void run();

 private:
  using Handler = void (PatternExpander::*)();
  struct Kind {
    std::string_view name;
    std::vector<std::string_view> required, optional;
    Handler handler;
  };
  static const std::vector<Kind>& kinds();

  void pipeline();
  void role_chain();
  void role_stages();
  std::vector<const Role*> role_list(const Text& list);
  void ring();
  void star();
  void tree();
  void grid();
  void cube();
  void all_to_all();
  void scatter_gather();
  void grid_direction(const Role& role, std::array<std::uint32_t, 3> extent, std::size_t direction,
                      bool wrap);
  std::optional<std::array<std::uint32_t, 3>> grid_extent(const Role& role);

  // ---- attributes
  const Text* find(std::string_view attribute) const {
    const auto found = decl_.attributes.find(std::string(attribute));
    return found == decl_.attributes.end() ? nullptr : &found->second;
  }
  bool has(std::string_view attribute) const { return find(attribute) != nullptr; }
  bool is_true(std::string_view attribute) const {
    return has(attribute) && find(attribute)->value == "true";
  }
  bool good() const { return x_.faults.count() == faults_before_; }
  const Graph& graph() const { return x_.builder.graph(); }
  void fault(std::string message) {
    x_.faults.add(decl_.where, "pattern " + decl_.kind.value + ": " + std::move(message));
  }

  const Role* role(std::string_view attribute) {
    const Text& text = *find(attribute);
    const Role* found = require_role(graph(), text.value, text.where, x_.faults);
    return found != nullptr && x_.spend(std::uint64_t{found->count} * 8, decl_.where) ? found : nullptr;
  }
  std::uint32_t number(std::string_view attribute, std::int64_t least, std::uint32_t fallback) {
    const Text* text = find(attribute);
    if (text == nullptr) return fallback;
    return static_cast<std::uint32_t>(
        read_number(*text, {attribute, least, kMaxProcesses}, x_.params, x_.faults).value_or(fallback));
  }
  std::optional<PortUse> port(std::string_view attribute, const Role* role, Direction direction, Shape shape,
                              std::uint32_t count = 1, std::string_view count_text = {});
  std::optional<PortUse> port_element(const Text& text, const Role& role, Direction direction);

  // ---- links
  void group(std::string_view suffix, bool indexed = true) {
    x_.builder.begin_group(suffix.empty() ? name_ : name_ + "." + std::string(suffix), indexed, spec_);
  }
  bool check(const Status& added) {
    if (!added) x_.faults.add(decl_.where, "pattern " + decl_.kind.value + ": " + added.error().message());
    return added.has_value();
  }
  bool join(const Role& from, std::uint32_t i, Slot out, const Role& to, std::uint32_t j, Slot in) {
    return check(x_.builder.add_link(End{from.first_process + i, out}, End{to.first_process + j, in}));
  }
  /// One queue from all processes of a role to all of another.
  bool join_all(const Role& from, Slot out, const Role& to, Slot in) {
    std::vector<End> producers, consumers;
    for (std::uint32_t i = 0; i < from.count; ++i) producers.push_back({from.first_process + i, out});
    for (std::uint32_t i = 0; i < to.count; ++i) consumers.push_back({to.first_process + i, in});
    return check(x_.builder.add_link(producers, consumers));
  }

  const PatternDecl& decl_;
  const std::string& name_;
  const LinkSpec& spec_;
  Expansion& x_;
  std::size_t faults_before_;
};

const std::vector<PatternExpander::Kind>& PatternExpander::kinds() {
  using P = PatternExpander;
  static const std::vector<std::string_view> kDirections = {
      "north-out", "north-in", "south-out", "south-in", "east-out", "east-in", "west-out",
      "west-in",   "up-out",   "up-in",     "down-out", "down-in",  "layers"};
  static const std::vector<Kind> kKinds = {
      {"pipeline", {"out", "in"}, {"role", "roles", "reverse"}, &P::pipeline},
      {"ring", {"role", "out", "in"}, {"reverse"}, &P::ring},
      {"star", {"hub", "role"}, {"to-leaf", "from-hub", "to-hub", "from-leaf"}, &P::star},
      {"tree", {"role"}, {"arity", "to-child", "from-parent", "to-parent", "from-child"}, &P::tree},
      {"mesh", {"role", "rows", "columns"}, kDirections, &P::grid},
      {"torus", {"role", "rows", "columns"}, kDirections, &P::grid},
      {"hypercube", {"role", "out", "in"}, {}, &P::cube},
      {"butterfly", {"role", "out", "in"}, {"order"}, &P::cube},
      {"all-to-all", {"role", "out", "in"}, {"to-role", "self"}, &P::all_to_all},
      {"scatter-gather", {"root", "role"}, {"sink", "scatter", "in", "out", "gather"}, &P::scatter_gather},
  };
  return kKinds;
}

std::optional<PortUse> PatternExpander::port_element(const Text& text, const Role& role,
                                                     Direction direction) {
  const std::size_t open = text.value.find('[');
  const std::string name = text.value.substr(0, open);
  const Port* found = require_port(role, name, direction, text.where, x_.faults);
  if (found == nullptr) return std::nullopt;
  x_.named.insert(found);
  if (open == std::string::npos) return PortUse{found, found->first_slot, found->count, found->array};
  if (text.value.back() != ']') {
    x_.faults.add(text.where, "found '" + text.value + "', expected port or port[index]");
    return std::nullopt;
  }
  const auto index = read_index(std::string_view(text.value).substr(open + 1, text.value.size() - open - 2),
                                text, open + 1, x_.params, {}, x_.faults);
  if (!index) return std::nullopt;
  const auto range = evaluate_index(*index, {"port '" + name + "'", "elements", found->count}, {});
  if (!range) {
    x_.faults.add(text, range.error());
    return std::nullopt;
  }
  if (index->kind != IndexSpec::Kind::kOne)
    return PortUse{found, found->first_slot + range->first, range->size, true};
  return PortUse{found, found->first_slot + range->first, 1, false};
}

std::optional<PortUse> PatternExpander::port(std::string_view attribute, const Role* role,
                                             Direction direction, Shape shape, std::uint32_t count,
                                             std::string_view count_text) {
  const Text* text = find(attribute);
  if (text == nullptr || role == nullptr) return std::nullopt;
  const auto use = port_element(*text, *role, direction);
  if (!use) return std::nullopt;
  if (shape == Shape::kSingle || (shape == Shape::kEither && !use->array)) {
    if (!use->array || use->count == 1) return use;
    x_.faults.add(text->where, "port '" + use->port->name + "' of role '" + role->name + "' is an array of " +
                                   std::to_string(use->count) +
                                   ", expected a single port or one element such as " + use->port->name +
                                   "[0]");
    return std::nullopt;
  }
  if (use->array && use->count == count) return use;
  // A single port does for an array of one.
  if (!use->array && count == 1) return use;
  const std::string found =
      use->array ? "has " + std::to_string(use->count) + " elements" : "is a single port";
  x_.faults.add(text->where, "port '" + use->port->name + "' of role '" + role->name + "' " + found +
                                 ", expected an array of " + std::to_string(count) +
                                 (count_text.empty() ? "" : " (" + std::string(count_text) + ")"));
  return std::nullopt;
}

void PatternExpander::run() {
  std::vector<std::string> names;
  for (const Kind& kind : kinds()) {
    names.emplace_back(kind.name);
    if (kind.name != decl_.kind.value) continue;
    std::vector<std::string> known;
    for (const std::string_view name : kind.required) known.emplace_back(name);
    for (const std::string_view name : kind.optional) known.emplace_back(name);
    for (const auto& [name, text] : decl_.attributes) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      x_.faults.add(
          text.where,
          "pattern " + decl_.kind.value + " has no attribute '" + name + "', expected " + join_names(known),
          near_miss(name, known));
    }
    for (const std::string_view name : kind.required) {
      if (!has(name)) fault("the attribute '" + std::string(name) + "' is missing");
    }
    if (good()) (this->*kind.handler)();
    return;
  }
  x_.faults.add(decl_.kind.where,
                "unknown pattern '" + decl_.kind.value + "', expected one of " + join_names(names),
                near_miss(decl_.kind.value, names));
}

// ---- pipeline: through the processes of one role, or through several roles

void PatternExpander::pipeline() {
  if (has("role") == has("roles")) return fault("expected either role or roles");
  if (has("role")) {
    role_chain();
  } else {
    role_stages();
  }
}

std::vector<const Role*> PatternExpander::role_list(const Text& list) {
  std::vector<const Role*> roles;
  std::size_t begin = 0;
  while (begin < list.value.size()) {
    std::size_t end = list.value.find(' ', begin);
    if (end == std::string::npos) end = list.value.size();
    SourcePosition where = list.where;
    where.column += static_cast<int>(begin);
    if (end > begin)
      roles.push_back(require_role(graph(), list.value.substr(begin, end - begin), where, x_.faults));
    begin = end + 1;
  }
  return roles;
}

void PatternExpander::role_stages() {
  if (has("reverse"))
    return fault("reverse goes with role, not with roles: write the roles in the other order");
  const std::vector<const Role*> stages = role_list(*find("roles"));
  if (stages.size() < 2) return fault("expected at least two roles");
  std::vector<std::pair<PortUse, PortUse>> joints;
  for (std::size_t i = 0; i + 1 < stages.size(); ++i) {
    const auto out = port("out", stages[i], Direction::kOut, Shape::kSingle);
    const auto in = port("in", stages[i + 1], Direction::kIn, Shape::kSingle);
    if (out && in) joints.emplace_back(*out, *in);
  }
  if (!good()) return;
  group({});
  for (std::size_t i = 0; i < joints.size(); ++i) {
    if (!join_all(*stages[i], joints[i].first.first, *stages[i + 1], joints[i].second.first)) return;
  }
}

void PatternExpander::role_chain() {
  const Role* cells = role("role");
  const auto out = port("out", cells, Direction::kOut, Shape::kSingle);
  const auto in = port("in", cells, Direction::kIn, Shape::kSingle);
  if (!out || !in) return;
  group({});
  const bool reverse = is_true("reverse");
  for (std::uint32_t i = 0; i + 1 < cells->count; ++i) {
    const std::uint32_t from = reverse ? i + 1 : i;
    const std::uint32_t to = reverse ? i : i + 1;
    if (!join(*cells, from, out->first, *cells, to, in->first)) return;
  }
}

void PatternExpander::ring() {
  const Role* cells = role("role");
  const auto out = port("out", cells, Direction::kOut, Shape::kSingle);
  const auto in = port("in", cells, Direction::kIn, Shape::kSingle);
  if (!out || !in) return;
  group({});
  const std::uint32_t step = is_true("reverse") ? cells->count - 1 : 1;
  for (std::uint32_t i = 0; i < cells->count; ++i) {
    const auto next = static_cast<std::uint32_t>((std::uint64_t{i} + step) % cells->count);
    if (!join(*cells, i, out->first, *cells, next, in->first)) return;
  }
}

void PatternExpander::star() {
  const Role* hub = role("hub");
  const Role* leaves = role("role");
  if (hub == nullptr || leaves == nullptr) return;
  if (hub->count != 1) {
    return x_.faults.add(find("hub")->where, "the hub '" + hub->name + "' has " + std::to_string(hub->count) +
                                                 " processes, expected one");
  }
  if (has("to-leaf") != has("from-hub")) return fault("expected both to-leaf and from-hub, or neither");
  if (has("to-hub") != has("from-leaf")) return fault("expected both to-hub and from-leaf, or neither");
  if (!has("to-leaf") && !has("to-hub"))
    return fault("expected to-leaf and from-hub, to-hub and from-leaf, or all");
  const std::string each = "one for each process of role '" + leaves->name + "'";
  const auto to_leaf = port("to-leaf", hub, Direction::kOut, Shape::kArray, leaves->count, each);
  const auto from_hub = port("from-hub", leaves, Direction::kIn, Shape::kSingle);
  const auto to_hub = port("to-hub", leaves, Direction::kOut, Shape::kSingle);
  const auto from_leaf = port("from-leaf", hub, Direction::kIn, Shape::kEither, leaves->count, each);
  if (!good()) return;
  if (to_leaf) {
    group("to-leaf");
    for (std::uint32_t i = 0; i < leaves->count; ++i) {
      if (!join(*hub, 0, to_leaf->slot(i), *leaves, i, from_hub->first)) return;
    }
  }
  if (to_hub) {
    group("to-hub");
    for (std::uint32_t i = 0; i < leaves->count; ++i) {
      if (!join(*leaves, i, to_hub->first, *hub, 0, from_leaf->slot(i))) return;
    }
  }
}

void PatternExpander::tree() {
  const Role* nodes = role("role");
  const std::uint32_t arity = number("arity", 1, 2);
  if (nodes == nullptr) return;
  if (has("to-child") != has("from-parent"))
    return fault("expected both to-child and from-parent, or neither");
  if (has("to-parent") != has("from-child"))
    return fault("expected both to-parent and from-child, or neither");
  if (!has("to-child") && !has("to-parent"))
    return fault("expected to-child and from-parent, to-parent and from-child, or all");
  const auto to_child = port("to-child", nodes, Direction::kOut, Shape::kArray, arity, "the arity");
  const auto from_parent = port("from-parent", nodes, Direction::kIn, Shape::kSingle);
  const auto to_parent = port("to-parent", nodes, Direction::kOut, Shape::kSingle);
  const auto from_child = port("from-child", nodes, Direction::kIn, Shape::kEither, arity, "the arity");
  if (!good()) return;
  // Process p has the children p*arity+1 .. p*arity+arity.
  if (to_child) {
    group("to-child");
    for (std::uint32_t i = 1; i < nodes->count; ++i) {
      if (!join(*nodes, (i - 1) / arity, to_child->slot((i - 1) % arity), *nodes, i, from_parent->first))
        return;
    }
  }
  if (to_parent) {
    group("to-parent");
    for (std::uint32_t i = 1; i < nodes->count; ++i) {
      if (!join(*nodes, i, to_parent->first, *nodes, (i - 1) / arity, from_child->slot((i - 1) % arity)))
        return;
    }
  }
}

// ---- mesh and torus

namespace grid_directions {
struct Direction {
  std::string_view name, opposite;
  std::size_t axis;  ///< 0: layer, 1: row, 2: column
  bool forward;      ///< towards higher numbers
};
constexpr std::array<Direction, 6> kAll{{{"north", "south", 1, false},
                                         {"south", "north", 1, true},
                                         {"east", "west", 2, true},
                                         {"west", "east", 2, false},
                                         {"up", "down", 0, true},
                                         {"down", "up", 0, false}}};
}  // namespace grid_directions

std::optional<std::array<std::uint32_t, 3>> PatternExpander::grid_extent(const Role& cells) {
  const std::array<std::uint32_t, 3> extent{number("layers", 1, 1), number("rows", 1, 1),
                                            number("columns", 1, 1)};
  if (!good()) return std::nullopt;
  const std::uint64_t plane = std::uint64_t{extent[1]} * extent[2];
  if (plane <= kMaxProcesses && plane * extent[0] == cells.count) return extent;
  std::string shape = std::to_string(extent[1]) + " rows x " + std::to_string(extent[2]) + " columns";
  if (has("layers")) shape += " x " + std::to_string(extent[0]) + " layers";
  x_.faults.add(find("role")->where, "role '" + cells.name + "' has " + std::to_string(cells.count) +
                                         " processes, expected " + std::to_string(plane * extent[0]) +
                                         " for " + shape);
  return std::nullopt;
}

void PatternExpander::grid() {
  const Role* cells = role("role");
  if (cells == nullptr) return;
  const auto extent = grid_extent(*cells);
  bool any = false;
  for (const auto& direction : grid_directions::kAll) {
    const std::string out = std::string(direction.name) + "-out";
    const std::string in = std::string(direction.opposite) + "-in";
    any = any || has(out);
    if (has(out) != has(in)) fault("expected both " + out + " and " + in + ", or neither");
    port(out, cells, Direction::kOut, Shape::kSingle);
    port(in, cells, Direction::kIn, Shape::kSingle);
  }
  if (!any && good()) fault("expected at least one pair such as east-out and west-in");
  if (!good() || !extent) return;
  for (std::size_t i = 0; i < grid_directions::kAll.size() && good(); ++i) {
    grid_direction(*cells, *extent, i, decl_.kind.value == "torus");
  }
}

void PatternExpander::grid_direction(const Role& cells, std::array<std::uint32_t, 3> extent,
                                     std::size_t number, bool wrap) {
  const auto& direction = grid_directions::kAll[number];
  const auto out = port(std::string(direction.name) + "-out", &cells, Direction::kOut, Shape::kSingle);
  const auto in = port(std::string(direction.opposite) + "-in", &cells, Direction::kIn, Shape::kSingle);
  if (!out || !in) return;
  group(direction.name);
  const std::array<std::uint32_t, 3> stride{extent[1] * extent[2], extent[2], 1};
  const std::uint32_t size = extent[direction.axis];
  const std::uint32_t step = stride[direction.axis];
  for (std::uint32_t p = 0; p < cells.count; ++p) {
    const std::uint32_t at = p / step % size;
    const bool edge = direction.forward ? at + 1 == size : at == 0;
    if (edge && !wrap) continue;
    const std::uint32_t far = step * (size - 1);
    const std::uint32_t to = direction.forward ? (edge ? p - far : p + step) : (edge ? p + far : p - step);
    if (!join(cells, p, out->first, cells, to, in->first)) return;
  }
}

// ---- hypercube and butterfly: p is joined at stage i with p xor 2^i

void PatternExpander::cube() {
  const Role* cells = role("role");
  if (cells == nullptr) return;
  const std::uint32_t n = cells->count;
  if (!std::has_single_bit(n)) {
    const std::uint32_t below = std::bit_floor(n);
    return x_.faults.add(find("role")->where, "role '" + cells->name + "' has " + std::to_string(n) +
                                                  " processes, expected a power of two for a " +
                                                  decl_.kind.value + " (" + std::to_string(below) + " or " +
                                                  std::to_string(2 * below) + ")");
  }
  const auto stages = static_cast<std::uint32_t>(std::bit_width(n)) - 1;
  const std::string text = "log2 of " + std::to_string(n) + " processes";
  const auto out = port("out", cells, Direction::kOut, Shape::kArray, stages, text);
  const auto in = port("in", cells, Direction::kIn, Shape::kArray, stages, text);
  bool far_first = false;
  if (const Text* order = find("order")) {
    far_first = order->value == "far-first";
    if (!far_first && order->value != "near-first") {
      x_.faults.add(order->where, "found order '" + order->value + "', expected near-first or far-first",
                    near_miss(order->value, {"near-first", "far-first"}));
    }
  }
  if (!good()) return;
  group({});
  for (std::uint32_t p = 0; p < n; ++p) {
    for (std::uint32_t i = 0; i < stages; ++i) {
      const std::uint32_t partner = p ^ (1U << (far_first ? stages - 1 - i : i));
      if (!join(*cells, p, out->slot(i), *cells, partner, in->slot(i))) return;
    }
  }
}

void PatternExpander::all_to_all() {
  const Role* from = role("role");
  const Role* to = has("to-role") ? role("to-role") : from;
  if (from == nullptr || to == nullptr) return;
  const auto out = port("out", from, Direction::kOut, Shape::kArray, to->count,
                        "one for each process of role '" + to->name + "'");
  const auto in = port("in", to, Direction::kIn, Shape::kEither, from->count,
                       "one for each process of role '" + from->name + "'");
  if (!good()) return;
  const bool with_self = from != to || is_true("self");
  if (std::uint64_t{from->count} * to->count > x_.builder.limits().links + (with_self ? 0ULL : from->count)) {
    return fault("the topology has " + std::to_string(std::uint64_t{from->count} * to->count) +
                 " or more links, expected at most " + std::to_string(x_.builder.limits().links));
  }
  group({});
  for (std::uint32_t i = 0; i < from->count; ++i) {
    for (std::uint32_t j = 0; j < to->count; ++j) {
      if (i == j && !with_self) continue;
      if (!join(*from, i, out->slot(j), *to, j, in->slot(i))) return;
    }
  }
}

void PatternExpander::scatter_gather() {
  const Role* root = role("root");
  const Role* workers = role("role");
  const Role* sink = has("sink") ? role("sink") : root;
  if (has("scatter") != has("in")) return fault("expected both scatter and in, or neither");
  if (has("gather") != has("out")) return fault("expected both out and gather, or neither");
  if (!has("scatter") && !has("gather")) return fault("expected scatter and in, out and gather, or all");
  const auto scatter = port("scatter", root, Direction::kOut, Shape::kSingle);
  const auto in = port("in", workers, Direction::kIn, Shape::kSingle);
  const auto out = port("out", workers, Direction::kOut, Shape::kSingle);
  const auto gather = port("gather", sink, Direction::kIn, Shape::kSingle);
  if (!good()) return;
  if (scatter) {
    group("scatter", false);
    if (!join_all(*root, scatter->first, *workers, in->first)) return;
  }
  if (gather) {
    group("gather", false);
    join_all(*workers, out->first, *sink, gather->first);
  }
}

}  // namespace

void expand_pattern(const PatternDecl& pattern, const std::string& name, const LinkSpec& spec,
                    Expansion& expansion) {
  PatternExpander(pattern, name, spec, expansion).run();
}

}  // namespace mvm::topologies
