#include "mvm/topologies/graph.h"

#include <algorithm>

#include "mvm/base/assert.h"
#include "mvm/base/number.h"

namespace mvm::topologies {
namespace {

/// Splits "name[3]" into name and 3; without brackets the number is -1; malformed: an empty name.
std::pair<std::string_view, std::int64_t> split_index(std::string_view text) {
  if (text.empty() || text.back() != ']') return {text, -1};
  const std::size_t open = text.rfind('[');
  if (open == std::string_view::npos) return {{}, -1};
  const auto index = whole_number<std::uint32_t>(text.substr(open + 1, text.size() - open - 2));
  if (!index) return {{}, -1};
  return {text.substr(0, open), *index};
}

}  // namespace

std::string_view to_string(Direction value) { return value == Direction::kIn ? "in" : "out"; }

std::string_view to_string(QueueType value) {
  switch (value) {
    case QueueType::kFifo:
      return "fifo";
    case QueueType::kPriority:
      return "priority";
    case QueueType::kLatest:
      return "latest";
  }
  return "";
}

std::string_view to_string(WhenFull value) {
  switch (value) {
    case WhenFull::kBlock:
      return "block";
    case WhenFull::kDropOldest:
      return "drop-oldest";
    case WhenFull::kDropNewest:
      return "drop-newest";
    case WhenFull::kFail:
      return "fail";
  }
  return "";
}

std::string_view to_string(Deliver value) {
  switch (value) {
    case Deliver::kOneOf:
      return "one-of";
    case Deliver::kEveryOne:
      return "every-one";
    case Deliver::kByKey:
      return "by-key";
  }
  return "";
}

const Port* Role::find_port(std::string_view wanted) const {
  for (const Port& port : ports) {
    if (port.name == wanted) return &port;
  }
  return nullptr;
}

std::uint32_t Graph::role_of(ProcessId process) const {
  MVM_ASSERT(process < process_count_);
  const auto after = std::upper_bound(roles_.begin(), roles_.end(), process,
                                      [](ProcessId id, const Role& role) { return id < role.first_process; });
  // Roles of no processes share their first process with the next one: the last of them is the owner.
  return static_cast<std::uint32_t>(after - roles_.begin()) - 1;
}

std::uint32_t Graph::index_of(ProcessId process) const {
  return process - roles_[role_of(process)].first_process;
}

std::string Graph::process_name(ProcessId process) const {
  const Role& role = roles_[role_of(process)];
  return role.name + "[" + std::to_string(process - role.first_process) + "]";
}

std::optional<ProcessId> Graph::find_process(std::string_view name) const {
  const auto [role_name, index] = split_index(name);
  const Role* role = find_role(role_name);
  if (role == nullptr) return std::nullopt;
  if (index < 0) return role->count == 1 ? std::optional(role->first_process) : std::nullopt;
  if (index >= role->count) return std::nullopt;
  return role->first_process + static_cast<std::uint32_t>(index);
}

const Role* Graph::find_role(std::string_view name) const {
  const auto found = role_numbers_.find(name);
  return found == role_numbers_.end() ? nullptr : &roles_[found->second];
}

const std::vector<Port>& Graph::ports_of(ProcessId process) const { return roles_[role_of(process)].ports; }

const Port& Graph::port_at(End end) const {
  const std::vector<Port>& ports = ports_of(end.process);
  const auto found = std::find_if(ports.begin(), ports.end(), [&](const Port& port) {
    return end.slot >= port.first_slot && end.slot - port.first_slot < port.count;
  });
  MVM_ASSERT(found != ports.end());
  return *found;
}

std::string Graph::end_name(End end) const {
  const Port& port = port_at(end);
  std::string name = process_name(end.process) + "." + port.name;
  if (port.array) name += "[" + std::to_string(end.slot - port.first_slot) + "]";
  return name;
}

std::optional<Slot> Graph::find_slot(ProcessId process, std::string_view port, std::uint32_t index) const {
  const Port* found = roles_[role_of(process)].find_port(port);
  if (found == nullptr || index >= found->count) return std::nullopt;
  return found->first_slot + index;
}

Link Graph::link(LinkId id) const {
  const Record& record = links_[id];
  const std::size_t end = id + 1 < links_.size() ? links_[id + 1].first_end : ends_.size();
  const std::span<const End> all(ends_.data() + record.first_end, end - record.first_end);
  return Link{id, all.first(record.producers), all.subspan(record.producers), &specs_[group_of(id).spec]};
}

const Graph::Group& Graph::group_of(LinkId id) const {
  const auto after =
      std::upper_bound(groups_.begin(), groups_.end(), id,
                       [](LinkId wanted, const Group& group) { return wanted < group.first_link; });
  return *(after - 1);
}

std::string Graph::link_name(LinkId id) const {
  const Group& group = group_of(id);
  return group.indexed ? group.name + "[" + std::to_string(id - group.first_link) + "]" : group.name;
}

std::optional<LinkId> Graph::find_link(std::string_view name) const {
  const auto [base, index] = split_index(name);
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const Group& group = groups_[i];
    const LinkId end = i + 1 < groups_.size() ? groups_[i + 1].first_link : link_count();
    const LinkId size = end - group.first_link;
    if (!group.indexed && group.name == name && size == 1) return group.first_link;
    if (group.indexed && index >= 0 && group.name == base && index < size) {
      return group.first_link + static_cast<LinkId>(index);
    }
  }
  return std::nullopt;
}

std::vector<LinkId> Graph::open_links() const {
  std::vector<LinkId> found;
  // They were added last.
  for (LinkId id = link_count(); id > 0 && link(id - 1).open(); --id) found.insert(found.begin(), id - 1);
  return found;
}

Result<LinkId> Graph::find_open(std::string_view name) const {
  const auto [name_of_end, element] = split_index(name);
  const std::size_t dot = name_of_end.rfind('.');
  const std::string_view port_name =
      dot == std::string_view::npos ? name_of_end : name_of_end.substr(dot + 1);
  const std::string_view wanted =
      dot == std::string_view::npos ? std::string_view() : name_of_end.substr(0, dot);
  std::vector<LinkId> fitting;
  std::string there;
  for (const LinkId id : open_links()) {
    const Link one = link(id);
    const End end = one.producers.empty() ? one.consumers.front() : one.producers.front();
    const Port& port = port_at(end);
    if (fitting.size() + there.size() < 400) there += (there.empty() ? "" : ", ") + link_name(id);
    if (port.name != port_name || (element >= 0 && end.slot - port.first_slot != element)) continue;
    if (element >= 0 && !port.array) continue;
    const Role& role = roles_[role_of(end.process)];
    const bool shared = link_name(id).starts_with(role.name + ".");
    const bool named =
        wanted.empty() || wanted == role.name || (!shared && wanted == process_name(end.process));
    if (named) fitting.push_back(id);
  }
  if (fitting.size() == 1) return fitting.front();
  if (there.empty()) return Error(ErrorCode::kNotFound, "the job has no open port");
  if (fitting.empty())
    return Error(ErrorCode::kNotFound, "there is no open port " + std::string(name) + "; open are " + there);
  return Error(ErrorCode::kInvalid, std::to_string(fitting.size()) + " open ports are called " +
                                        std::string(name) + "; open are " + there);
}

std::uint64_t Graph::slot_base(ProcessId process) const {
  const std::uint32_t role = role_of(process);
  return role_first_slot_[role] +
         std::uint64_t{process - roles_[role].first_process} * roles_[role].slot_count;
}

std::span<const LinkId> Graph::links_at(End end) const {
  const std::uint64_t slot = slot_base(end.process) + end.slot;
  const std::uint32_t first = slot_links_first_[slot];
  return {slot_links_.data() + first, slot_links_first_[slot + 1] - first};
}

std::span<const LinkId> Graph::links_of(ProcessId process) const {
  const std::uint64_t base = slot_base(process);
  const std::uint32_t first = slot_links_first_[base];
  return {slot_links_.data() + first, slot_links_first_[base + roles_[role_of(process)].slot_count] - first};
}

std::size_t Graph::memory_bytes() const {
  return links_.capacity() * sizeof(Record) + ends_.capacity() * sizeof(End) +
         slot_links_first_.capacity() * sizeof(std::uint32_t) + slot_links_.capacity() * sizeof(LinkId) +
         roles_.capacity() * sizeof(Role) + specs_.capacity() * sizeof(LinkSpec) +
         groups_.capacity() * sizeof(Group);
}

}  // namespace mvm::topologies
